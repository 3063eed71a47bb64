"""How integer matrices lie in flash: the rows of a block side by side, some columns at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from llgen.targets.instruction_sets import GROUP, InstructionSet


@dataclass(frozen=True)
class Layout:
    """The order of weights and cached values for one instruction set; a set's own `Layout` replaces what differs.

    A matrix is given as integers [rows, columns]. Missing rows and columns are filled up with zeros.
    """

    isa: InstructionSet

    @property
    def block(self) -> int:
        """Rows of a block."""
        return self.isa.block_rows(True)

    @property
    def eight_shape(self) -> str:
        """The dimensions of 8-bit weights, in C's order, for a comment in C."""
        side = self.isa.int_columns
        if side == 1:
            return "[row blocks][columns][block rows]"
        return f"[row blocks][columns / {side}][block rows][{side}]"

    def largest_start(self, columns: int) -> int:
        """The largest absolute value that the sum of a row of `columns` columns may begin with.

        With biased weights a sum begins with -128 times the sum of the vector, whose elements are at most 127.
        """
        return 128 * 127 * columns if self.isa.biased else 0

    def eight_bits(self, integers: npt.NDArray[np.int8]) -> npt.NDArray[np.int8]:
        """Weights of 8 bits: [row blocks, columns / side, block rows, side], `side` being `int_columns`.

        Biased weights are bytes without a sign, 128 larger.
        """
        blocks: npt.NDArray[np.int8] = self.in_blocks(self.padded(integers, self.isa.int_step, np.int8))
        return blocks ^ np.int8(-128) if self.isa.biased else blocks

    def four_bits(self, integers: npt.NDArray[np.int8]) -> npt.NDArray[np.uint8]:
        """Weights of 4 bits: [row blocks, columns / (2 side), block rows, side]; a byte is two weights, each plus 8.

        Its low half is a weight of the first `side` columns, its high half one of the next.
        """
        side = self.isa.int_columns
        padded = self.padded(integers + 8, self.isa.four_step, np.uint8, missing=8)
        halves = padded.reshape(-1, self.block, padded.shape[1] // (2 * side), 2, side)
        return np.ascontiguousarray((halves[:, :, :, 0] | halves[:, :, :, 1] << 4).transpose(0, 2, 1, 3))

    def five_or_six_bits(self, integers: npt.NDArray[np.int8], bits: int) -> npt.NDArray[np.uint8]:
        """Weights of 5 or 6 bits: [row blocks, groups of columns, bytes].

        A group of a block has the order of `eight_bits`, each weight a byte plus 16 or 32, of which the upper bits are
        missing: first the lower four bits of all bytes, those of the second half above those of the first half; then
        the fifth bits, of each eighth of the bytes above that of the eighth before; or the fifth and the sixth, of each
        quarter.
        """
        upper, middle = bits - 4, 1 << (bits - 1)
        padded = self.padded(integers + middle, GROUP, np.uint8, missing=middle)
        groups = self.in_blocks(padded).reshape(len(padded) // self.block, -1, self.block * GROUP)
        lower = groups & 15
        half = self.block * GROUP // 2
        parts = (groups >> 4).reshape(*groups.shape[:2], 8 // upper, -1)
        shifts = (np.arange(8 // upper, dtype=np.uint8) * upper)[:, np.newaxis]
        above = np.bitwise_or.reduce(parts << shifts, axis=2)
        return np.concatenate([lower[..., :half] | lower[..., half:] << 4, above], axis=2).astype(np.uint8)

    def cached_values(self, values: npt.NDArray[np.int8], group: int) -> npt.NDArray[np.int8]:
        """Values of a cache, [positions, elements] -> [positions / group, elements, group]."""
        return self.value_groups(values, group).transpose(0, 2, 1)

    def padded(
        self, integers: npt.NDArray[Any], columns: int, kind: type[np.generic], missing: int = 0
    ) -> npt.NDArray[Any]:
        """[rows, columns] padded to whole blocks of rows and whole steps of `columns` columns."""
        pad = ((0, -integers.shape[0] % self.block), (0, -integers.shape[1] % columns))
        return np.pad(integers.astype(kind), pad, constant_values=missing)

    def in_blocks(self, padded: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Bytes [rows, columns], whole blocks, in the order of `eight_bits`."""
        side = self.isa.int_columns
        blocks = padded.reshape(-1, self.block, padded.shape[1] // side, side)
        return np.ascontiguousarray(blocks.transpose(0, 2, 1, 3))

    def value_groups(self, values: npt.NDArray[np.int8], group: int) -> npt.NDArray[np.int8]:
        """[positions, elements] -> [positions / group, group, elements], filled up to whole groups and `int_mix`."""
        pad = ((0, -values.shape[0] % group), (0, -values.shape[1] % self.isa.int_mix))
        padded = np.pad(values, pad)
        return padded.reshape(-1, group, padded.shape[1])
