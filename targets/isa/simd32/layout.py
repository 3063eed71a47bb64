"""How integer matrices lie for the DSP extension: the weights of two rows, or of four, share 16 bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ..scalar.layout import Layout as Plain


class Layout(Plain):
    """Rows in pairs, columns in pairs."""

    @property
    def eight_shape(self) -> str:
        """The dimensions of 8-bit weights, in C's order, for a comment in C."""
        return "[row blocks][columns / 2][block rows / 2][2 columns][2 rows]"

    def eight_bits(self, integers: npt.NDArray[np.int8]) -> npt.NDArray[np.int8]:
        """Weights of 8 bits: [row blocks, columns / 2, row pairs, 2 columns, 2 rows].

        A weight and that of the next row become one number of 16 bits: the first plus 256 times the second.
        """
        blocks = super().eight_bits(integers)
        blocks[..., 1] -= blocks[..., 0] < 0
        return blocks

    def four_bits(self, integers: npt.NDArray[np.int8]) -> npt.NDArray[np.uint8]:
        """Weights of 4 bits: [row blocks, columns, 2]; 16 bits hold a weight of each of four rows.

        Those of the first three rows are stored plus 8; that of the last row has its sign and no 8 added.
        """
        padded = self.padded(integers + 8, self.isa.four_step, np.uint8, missing=8)
        fours: npt.NDArray[np.uint8] = padded.reshape(-1, 4, padded.shape[1]).transpose(0, 2, 1).copy()
        fours[..., 3] ^= 8
        return (fours[..., ::2] | fours[..., 1::2] << 4).astype(np.uint8)

    def cached_values(self, values: npt.NDArray[np.int8], group: int) -> npt.NDArray[np.int8]:
        """Values of a cache, [positions, elements] -> [positions / group, element pairs, group, 2]."""
        side = self.value_groups(values, group)
        return side.reshape(len(side), group, -1, 2).transpose(0, 2, 1, 3)

    def in_blocks(self, padded: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Bytes [rows, columns], whole blocks, in the order of `eight_bits`."""
        return padded.reshape(-1, self.block // 2, 2, padded.shape[1] // 2, 2).transpose(0, 3, 1, 4, 2).copy()
