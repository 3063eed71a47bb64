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
    """Vectors that a float32 matrix-vector product keeps in registers."""
    int_lanes: int
    """Rows whose whole sums one accumulator holds."""
    int_accumulators: int
    """Accumulators that an integer matrix-vector product keeps in registers."""
    int_columns: int = 4
    """Neighbouring 8-bit weights of a row that are stored side by side."""
    int_step: int = 8
    """Columns that the integer kernel takes at once; integer vectors are padded to whole steps."""
    int_bytes: int = 1
    """Bytes of an element of an integer vector that weights are multiplied by."""

    @property
    def int_isa(self) -> str:
        """Names `templates/simd/ISA_int.h`."""
        return "neon" if self.isa == "neon64" else self.isa

    def block_rows(self, integer: bool) -> int:
        """Output rows whose weights are stored side by side."""
        return self.int_lanes * self.int_accumulators if integer else self.lanes * self.accumulators


_KERNEL_SETS = {
    "scalar": KernelSet("scalar", lanes=1, accumulators=8, int_lanes=1, int_accumulators=4),
    "sse2": KernelSet("sse2", lanes=4, accumulators=4, int_lanes=4, int_accumulators=4, int_bytes=2),
    "avx2": KernelSet("avx2", lanes=8, accumulators=4, int_lanes=8, int_accumulators=4),
    "neon": KernelSet("neon", lanes=4, accumulators=8, int_lanes=4, int_accumulators=4),
    "neon64": KernelSet("neon64", lanes=4, accumulators=8, int_lanes=4, int_accumulators=4),
    "wasm128": KernelSet("wasm128", lanes=4, accumulators=8, int_lanes=4, int_accumulators=4, int_bytes=2),
    "helium": KernelSet(
        "helium", lanes=4, accumulators=4, int_lanes=1, int_accumulators=4, int_columns=16, int_step=16
    ),
}


def select(preference: Sequence[str]) -> KernelSet:
    """The first of a target's instruction sets that there are kernels for.

    Raises LlgenError when there are none.
    """
    for isa in preference:
        if isa in _KERNEL_SETS:
            return _KERNEL_SETS[isa]
    raise LlgenError(f"no kernels for {', '.join(preference)}", f"llgen has: {', '.join(sorted(_KERNEL_SETS))}")
