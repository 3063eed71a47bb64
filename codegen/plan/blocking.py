"""Blocking: how many positions a prefill evaluates together, decided when C is generated.

Each weight is loaded once for all positions of a block; the state has room for their activations.
"""

from __future__ import annotations

from llgen.errors import UsageError
from llgen.targets.instruction_sets import InstructionSet
from llgen.targets.schema import Target

from ..quantise.quantize import QuantModel

MOST_POSITIONS = 256
"""Maximum positions of a block: no cache holds the activations of larger blocks, so that they gain nothing."""

_HOST_POSITIONS = 64


def positions_of_block(model: QuantModel, kernels: InstructionSet, target: Target, asked: int | None = None) -> int:
    """Number of positions of a block: `asked` if it is given; at most the context.

    With an operating system, enough positions that arithmetic limits the speed even if the model is larger than the
    caches, in whole tiles. On a microcontroller one position, because RAM is scarce.
    Raises UsageError when `asked` is out of range.
    """
    if asked is not None:
        if not 1 <= asked <= MOST_POSITIONS:
            raise UsageError(f"--prefill takes 1 to {MOST_POSITIONS} positions, not {asked}")
        return min(asked, model.context)
    if target.firmware is not None:
        return 1
    return min(_HOST_POSITIONS, model.context)


def has_threads(target: Target, positions: int) -> bool:
    """Whether a program for the target may have threads: POSIX threads, because some C libraries lack C11's."""
    triple = target.compiler.triple or ""
    return positions > 1 and target.stdio == "hosted" and "wasm" not in triple and "windows" not in triple
