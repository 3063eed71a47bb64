"""Blocking: how many positions a prefill evaluates together, decided when C is generated.

Each weight that is loaded is multiplied by all positions of a block, whose activations the state has room for.
"""

from __future__ import annotations

from llgen.targets.schema import Target

from .errors import UsageError
from .kernels import KernelSet
from .quantize import QuantModel

MOST_POSITIONS = 256
"""Beyond this no cache holds the activations of a block, and nothing is gained."""

_HOST_POSITIONS = 64


def positions_of_block(model: QuantModel, kernels: KernelSet, target: Target, asked: int | None = None) -> int:
    """Positions of a block, `asked` if that is given; at most the context.

    On a machine with an operating system enough that even a model larger than its caches is bound by arithmetic, in
    whole tiles. On a microcontroller one, for there RAM is what is short.
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
    """Whether a program for the target may have threads: POSIX's, for C11's own are missing in places."""
    triple = target.compiler.triple or ""
    return positions > 1 and target.stdio == "hosted" and "wasm" not in triple and "windows" not in triple
