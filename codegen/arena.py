"""The arena of activations: two buffers may overlap when no step of the forward pass needs both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# The steps of one position, in order; a layer repeats those from "attention_norm" to "w2".
STEPS = (
    "embed",
    "attention_norm",
    "wqkv",
    "attend",
    "wo",
    "ffn_norm",
    "w13",
    "swiglu",
    "w2",
    "final_norm",
    "classify",
    "sample",
)


@dataclass(frozen=True)
class Demand:
    """A buffer that lives from the step that first writes it to the step that last reads it, both inclusive."""

    name: str
    floats: int
    first: int
    last: int


@dataclass(frozen=True)
class Buffer:
    """A demand with its place in the arena, in floats."""

    name: str
    floats: int
    first: int
    last: int
    offset: int


def lifetime(name: str, floats: int, first: str, last: str) -> Demand:
    """A buffer of so many floats that is needed from the step `first` to the step `last`."""
    return Demand(name, floats, STEPS.index(first), STEPS.index(last))


def place(demands: Sequence[Demand]) -> tuple[Buffer, ...]:
    """Give each demand an offset such that no two buffers alive at the same step overlap: largest first, lowest fit."""
    placed: list[Buffer] = []
    for demand in sorted(demands, key=lambda item: (-item.floats, item.name)):
        alive = sorted(
            (other for other in placed if other.first <= demand.last and demand.first <= other.last),
            key=lambda item: item.offset,
        )
        offset = 0
        for other in alive:
            if offset + demand.floats <= other.offset:
                break
            offset = max(offset, other.offset + other.floats)
        placed.append(Buffer(demand.name, demand.floats, demand.first, demand.last, offset))
    order = {demand.name: index for index, demand in enumerate(demands)}
    return tuple(sorted(placed, key=lambda buffer: order[buffer.name]))
