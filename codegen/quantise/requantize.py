"""What it costs to quantise weights that were rounded before: how far q8 moves them.

A format like Q8_0 has a scale for some tens of numbers, llgen's q8 one for each row. So numbers that are whole steps of
theirs fall between steps of ours, all the more when channels are mixed, and are rounded for a second time.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..contract.matrix import to_bits
from ..model.spec import ModelSpec
from .fold import folded_matrices

_ROWS = 64
"""Rows that are rounded together: 8 bits are rounded row by row."""


@dataclass(frozen=True)
class WeightError:
    """The matrix of a kind that is moved most."""

    name: str
    """As in `QuantModel.matrices`."""
    relative_rms: float
    """Root of the sum of squared errors over that of squared weights."""


@dataclass(frozen=True)
class Requantised:
    """A model in q8."""

    stored_bits: int
    """Of all matrices."""
    errors: Mapping[str, WeightError]
    """By kind of matrix, in the order of a forward pass."""


def requantised(spec: ModelSpec) -> Requantised:
    """Round each matrix to q8, one at a time, and compare it with what it was."""
    stored_bits, worst = 0, dict[str, WeightError]()
    for name, values in folded_matrices(spec, "q8"):
        square = moved = 0.0
        for first in range(0, len(values), _ROWS):
            rows = values[first : first + _ROWS]
            matrix, exact = to_bits(rows, 8), rows.astype(np.float64)
            stored_bits += matrix.stored_bits
            square += float(np.square(exact).sum())
            moved += float(np.square(matrix.dequantized() - exact).sum())
        found, kind = WeightError(name, math.sqrt(moved / max(square, sys.float_info.min))), name.partition(".")[0]
        if kind not in worst or found.relative_rms > worst[kind].relative_rms:
            worst[kind] = found
    return Requantised(stored_bits, worst)
