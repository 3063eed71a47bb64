"""The arena of activations: two buffers may overlap when no operation of the forward pass needs both.

Steps are indices of `Graph.operations`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..contract.numerics import LANES


@dataclass(frozen=True)
class Demand:
    """A buffer that lives from the step that first writes it to the step that last reads it, both inclusive."""

    name: str
    floats: int
    first: int
    last: int
    beside: str | None = None
    """The buffer to be placed directly before, if there is room: small processors reach both from one address."""


@dataclass(frozen=True)
class Buffer:
    """A demand with its place in the arena, in floats."""

    name: str
    floats: int
    first: int
    last: int
    offset: int


def place(demands: Sequence[Demand]) -> tuple[Buffer, ...]:
    """Give each demand an offset such that no two buffers alive at the same step overlap: largest first, lowest fit.

    Demands with `beside` are placed after all others.
    """
    placed: list[Buffer] = []
    for demand in sorted(demands, key=lambda item: (item.beside is not None, -item.floats, item.name)):
        offset = _offset(demand, placed)
        placed.append(Buffer(demand.name, demand.floats, demand.first, demand.last, offset))
    order = {demand.name: index for index, demand in enumerate(demands)}
    return tuple(sorted(placed, key=lambda buffer: order[buffer.name]))


def _offset(demand: Demand, placed: Sequence[Buffer]) -> int:
    alive = sorted(
        (other for other in placed if other.first <= demand.last and demand.first <= other.last),
        key=lambda item: item.offset,
    )
    for neighbour in placed:
        offset = (neighbour.offset - demand.floats) // LANES * LANES
        if neighbour.name == demand.beside and offset >= 0 and _is_free(offset, demand.floats, alive):
            return offset
    offset = 0
    for other in alive:
        if offset + demand.floats <= other.offset:
            break
        offset = max(offset, other.offset + other.floats)
    return offset


def _is_free(offset: int, floats: int, alive: Sequence[Buffer]) -> bool:
    return all(offset + floats <= other.offset or other.offset + other.floats <= offset for other in alive)
