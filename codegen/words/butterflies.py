"""How generated C computes a Walsh-Hadamard transform: several steps of `numerics.hadamard` a pass, in registers."""

from __future__ import annotations

from dataclasses import dataclass

_RADIX = 8
"""Numbers that a pass holds at once: as many as every machine has registers for."""


@dataclass(frozen=True)
class Pass:
    """One way through a vector."""

    source: str
    """Where it reads: the vector that is transformed, or what the pass before has written"""
    stride: int
    """How far apart the neighbours are that are mixed"""
    count: int
    """How many are mixed"""


def passes_of(block: int) -> list[Pass]:
    """The transform of `block` elements, a power of two, in the fewest passes."""
    passes: list[Pass] = []
    stride = 1
    while stride < block:
        passes.append(Pass("to" if passes else "from", stride, min(_RADIX, block // stride)))
        stride *= _RADIX
    return passes
