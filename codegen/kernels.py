"""Selecting kernels: which vocabulary of vector operations a target has, and how wide the weight blocks are for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from .errors import LlgenError
from .matrix import GROUP
from .numerics import LANES

LEAST_PARALLEL = 1 << 16
"""Products of a weight and an element below which work is not divided: they take about
a microsecond, as handing them over does."""


@dataclass(frozen=True)
class Tile:
    """Sums that stay in registers while a block of positions is multiplied."""

    positions: int
    vectors: int
    """Of rows: float32 vectors, or accumulators of whole sums."""


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
    long_lanes: int = field(default=0, kw_only=True)
    """float32 numbers in the long vectors that a block of positions is computed with, besides; 0: there are none."""
    cuts_vectors: bool = field(default=False, kw_only=True)
    """Vectors are cut to their first lanes, and put as bytes, by instructions."""
    soft_float: bool = field(default=False, kw_only=True)
    """There is no unit for floats: functions of our own replace what is used most."""
    wide_products: bool = field(default=True, kw_only=True)
    """The part multiplies 32 by 32 bits to 64."""
    counts_zeros: bool = field(default=True, kw_only=True)
    """An instruction of the part counts the zeros before a number's highest bit."""
    stack_bytes: int = field(default=1536, kw_only=True)
    """What the stack stays below, but for room to unpack weights; `build` measures, and refuses what exceeds it."""
    int_isa: str
    """Names `templates/simd/ISA_int.h`."""
    int_lanes: int
    """Rows whose whole sums one accumulator holds."""
    int_accumulators: int
    """Accumulators that an integer matrix-vector product keeps in registers."""
    int_columns: int = 4
    """Neighbouring 8-bit weights of a row that are stored side by side."""
    int_step: int = 8
    """Columns that the integer kernel takes at once; integer vectors are padded to whole steps."""
    four_step: int = GROUP
    """Columns that the kernel for 4-bit weights takes at once; the rows of such a matrix are padded to whole steps."""
    int_bytes: int = 1
    """Bytes of an element of an integer vector that weights are multiplied by."""
    int_mix: int = 4
    """Elements of a head whose sums over the positions are made at once."""
    split_weights: bool = False
    """Weights of attention are multiplied byte by byte, those of eight positions at once."""
    split_sums: bool = False
    """One position alone has two sums for each row."""
    biased: bool = False
    """8-bit weights are stored plus 128, for instructions that multiply unsigned by signed bytes."""
    word_rows: bool = False
    """8-bit weights of four rows share a word, and three products with it give all four sums."""
    all_columns: bool = False
    """A function of the instruction set takes all columns of a block of rows, not a step of them."""
    paired_rows: bool = False
    """Weights lie as the DSP extension of Cortex-M takes them: those of two rows, or four of 4 bits, in 16 bits."""
    float_tiles: tuple[Tile, ...] = (Tile(4, 2), Tile(2, 4), Tile(1, 8))
    """Of float32 products, the most positions first; a block is divided among them."""
    long_tiles: tuple[Tile, ...] = ()
    """Of float32 products of matrices in vectors of twice as many lanes, where there are such; else `float_tiles`."""
    block_pairs: bool = False
    """One position alone is multiplied by two blocks of rows of a float32 matrix side by side."""
    int_tiles: tuple[Tile, ...] = (Tile(2, 2), Tile(1, 4))
    """Of 8-bit matrices."""
    wide_tiles: bool = False
    """Those of several positions multiply vectors of 16 bits, kept besides those of `int_bytes`."""
    four_tiles: tuple[Tile, ...] = (Tile(2, 2), Tile(1, 4))
    """Of 4-bit matrices."""
    least_parallel: int = LEAST_PARALLEL
    """Products below which work is not divided among threads."""

    def score_lanes(self, *, blocks: bool) -> int:
        """Positions whose scores are taken together: whole groups of the contract's lanes, and whole vectors."""
        return max(LANES, self.long_lanes) if blocks else LANES

    def value_group(self, *, blocks: bool) -> int:
        """Positions whose 8-bit values are stored side by side."""
        return 8 if blocks and self.split_weights else 2

    def narrow_tiles(self) -> tuple[Tile, ...]:
        """Of matrices that are unpacked group by group: all rows of a block, so that none is unpacked twice."""
        one = Tile(1, self.int_accumulators)
        return (replace(one, positions=2), one) if self.int_tiles[0].positions > 1 else (one,)

    def block_rows(self, integer: bool) -> int:
        """Output rows whose weights are stored side by side."""
        return self.int_lanes * self.int_accumulators if integer else self.lanes * self.accumulators


_SCALAR = KernelSet("scalar", lanes=1, accumulators=8, int_isa="scalar", int_lanes=1, int_accumulators=4)
_ONE_ACCUMULATOR = (Tile(2, 1), Tile(1, 1))
_SERIAL = replace(
    _SCALAR,
    int_isa="serial",
    int_lanes=4,
    int_accumulators=1,
    stack_bytes=2048,  # a whole number that is put aside takes 8 bytes of it on a 64-bit machine
    int_tiles=_ONE_ACCUMULATOR,
    four_tiles=_ONE_ACCUMULATOR,
)
_SOFT = replace(
    _SERIAL,
    stack_bytes=_SCALAR.stack_bytes,
    isa="soft",
    soft_float=True,
    int_isa="words",
    int_accumulators=2,
    int_columns=1,
    biased=True,
    word_rows=True,
)
_NEON = KernelSet("neon", lanes=4, accumulators=8, int_isa="neon", int_lanes=4, int_accumulators=4)

_AVX2 = KernelSet(
    "avx2",
    lanes=8,
    accumulators=4,
    int_isa="avx2",
    int_lanes=8,
    int_accumulators=4,
    stack_bytes=4096,  # a vector that is put aside takes 32 or 64 bytes of it
    int_mix=8,
    cuts_vectors=True,
    block_pairs=True,
    float_tiles=(Tile(6, 2), Tile(2, 4), Tile(1, 4)),
    int_tiles=(Tile(6, 1), Tile(2, 2), Tile(1, 4)),
    wide_tiles=True,
    four_tiles=(Tile(6, 1), Tile(2, 2), Tile(1, 4)),
)

_DSP = replace(_SCALAR, int_isa="dsp", int_bytes=2, four_step=8, int_mix=8, paired_rows=True)

_KERNEL_SETS = {
    "scalar": _SCALAR,
    "soft": _SOFT,
    "soft_rv32": replace(_SOFT, int_isa="rv32", counts_zeros=False),
    "soft_narrow": replace(
        _SOFT,
        int_isa="thumb",
        int_accumulators=1,
        int_bytes=4,
        all_columns=True,
        wide_products=False,
        counts_zeros=False,
    ),
    "serial": _SERIAL,
    "dsp": _DSP,
    "soft_dsp": replace(_DSP, isa="soft", soft_float=True),
    "sse2": KernelSet("sse2", lanes=4, accumulators=4, int_isa="sse2", int_lanes=4, int_accumulators=4, int_bytes=2),
    "avx2": _AVX2,
    "avxvnni": replace(
        _AVX2,
        int_isa="avxvnni",
        biased=True,
        split_weights=True,
        split_sums=True,
        wide_tiles=False,
        int_tiles=(Tile(6, 2), Tile(2, 4), Tile(1, 4)),
    ),
    "avx512vnni": replace(
        _AVX2,
        isa="avx512",
        long_lanes=16,
        float_tiles=(Tile(8, 2), Tile(2, 4), Tile(1, 4)),
        long_tiles=(Tile(12, 2), Tile(4, 2), Tile(1, 2)),
        int_isa="avx512vnni",
        int_lanes=16,
        int_accumulators=2,
        biased=True,
        split_weights=True,
        split_sums=True,
        wide_tiles=False,
        int_tiles=(Tile(8, 2), Tile(2, 2), Tile(1, 2)),
        four_tiles=(Tile(8, 1), Tile(2, 2), Tile(1, 2)),
    ),
    "neon": _NEON,
    "neon64": replace(_NEON, isa="neon64"),
    "dotprod": replace(_NEON, isa="neon64", int_isa="dotprod"),
    "wasm128": replace(_NEON, isa="wasm128", int_isa="wasm128", int_bytes=2),
    "helium": KernelSet(
        "helium",
        lanes=4,
        accumulators=4,
        int_isa="helium",
        int_lanes=1,
        int_accumulators=4,
        int_columns=16,
        int_step=16,
        int_tiles=(Tile(1, 4),),
        four_tiles=(Tile(1, 4),),
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
