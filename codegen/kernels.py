"""Selecting kernels: which vocabulary of vector operations a target has, and how wide the weight blocks are for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .errors import LlgenError


@dataclass(frozen=True)
class KernelSet:
    """The vector instructions that the generated C uses, and the layout of weights made for them.

    Nothing here changes a single bit of the result: vectors run across rows, never along an accumulation.
    """

    isa: str
    """Names `templates/simd/ISA.h`."""
    lanes: int
    """float32 numbers in a vector; divides the 8 lanes of the contract."""
    accumulators: int
    """Vectors that a matrix-vector product keeps in registers."""

    @property
    def block_rows(self) -> int:
        """Output rows whose weights are stored side by side, column by column."""
        return self.lanes * self.accumulators


_KERNEL_SETS = {
    "scalar": KernelSet("scalar", lanes=1, accumulators=8),
    "sse2": KernelSet("sse2", lanes=4, accumulators=4),
    "avx2": KernelSet("avx2", lanes=8, accumulators=4),
    "neon": KernelSet("neon", lanes=4, accumulators=8),
    "neon64": KernelSet("neon64", lanes=4, accumulators=8),
    "wasm128": KernelSet("wasm128", lanes=4, accumulators=8),
    "helium": KernelSet("helium", lanes=4, accumulators=4),
}


def select(preference: Sequence[str]) -> KernelSet:
    """The first of a target's instruction sets that there are kernels for.

    Raises LlgenError when there are none.
    """
    for isa in preference:
        if isa in _KERNEL_SETS:
            return _KERNEL_SETS[isa]
    raise LlgenError(f"no kernels for {', '.join(preference)}", f"llgen has: {', '.join(sorted(_KERNEL_SETS))}")
