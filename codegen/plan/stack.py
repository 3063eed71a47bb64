"""The stack limit that the generated header promises: computed from the shape of the code and the processor, before any
compiler runs.

The stack that a compiler uses depends on its version, its options and the processor, so that a single measurement
cannot be the promise. The limit has room for all registers in every function of the call path, and for all vector
registers in the functions that compute. `build` measures the compiled code, and states more if the limit was too small.
"""

from __future__ import annotations

from dataclasses import dataclass

from llgen.targets.instruction_sets import InstructionSet
from llgen.targets.schema import Target

from ..contract.matrix import GROUP, UNPACKED
from ..contract.numerics import LANES
from ..quantise.quantize import QuantModel
from .sizes import round_up

CALLS = 10
"""Maximum depth of calls in generated code."""

STEP_BYTES = 64
"""The promised stack is a multiple of this."""

_WORDS = 25
"""Words that one function stores on the stack: its caller's registers, its return address, and spilled numbers."""

_COMPUTING = 2
"""Functions of a call path whose loops a compiler vectorises: a product, and the function that calls it."""


@dataclass(frozen=True)
class Registers:
    """Bytes that a function may have to store on the stack, for a family of processors."""

    word: int
    vectors: int
    """Bytes of all float and vector registers of the family's largest processor."""


_LARGEST = Registers(word=8, vectors=32 * 64)
_FAMILIES = {
    "thumb": Registers(word=4, vectors=32 * 4),  # eight Helium vectors are the same registers
    "arm": Registers(word=4, vectors=16 * 16),
    "aarch64": Registers(word=8, vectors=32 * 16),
    "riscv32": Registers(word=4, vectors=32 * 8),
    "riscv64": Registers(word=8, vectors=32 * 16),
    "wasm32": Registers(word=4, vectors=0),  # its stack in memory holds only arrays, not locals
}


def registers(target: Target) -> Registers:
    """Registers of the target's family; the largest known ones if the target states no family, like `generic`."""
    return _FAMILIES.get((target.compiler.triple or "").partition("-")[0], _LARGEST)


def promised_stack(model: QuantModel, kernels: InstructionSet, target: Target, piece_bytes: int = 0) -> int:
    """Maximum bytes of stack for any function of the generated header, callbacks not included.

    `piece_bytes` is the length of the longest piece of the vocabulary, 0 without one.
    """
    has = registers(target)
    aside = CALLS * _WORDS * has.word + _COMPUTING * max(has.vectors, kernels.register_bytes)
    return round_up(aside + piece_bytes + _array_bytes(model, kernels, has.word), STEP_BYTES)


def _array_bytes(model: QuantModel, kernels: InstructionSet, word: int) -> int:
    """Bytes of the arrays on the stack of an evaluation."""
    rows = kernels.block_rows(model.is_integer)
    arrays = 3 * 4 * rows + 2 * 4 * max(LANES, kernels.long_lanes)  # sums, products and scales of a block; lanes
    tile = (kernels.int_tiles if model.kv == "q8" else kernels.float_tiles)[0].positions
    arrays += tile * (6 * word + 3 * 4)  # a query, its maximum score, and its sums
    if model.kv == "q8":
        arrays += 4 * round_up(model.config.head_dim, kernels.int_mix)
    if not model.bits_used.isdisjoint(UNPACKED):
        arrays += GROUP * rows + 3 * 4 * rows  # of two positions, and of the group
    return arrays
