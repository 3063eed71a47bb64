"""What it costs to quantise weights that were rounded before: how far q8 moves them.

A format like Q8_0 has a scale for some tens of numbers, llgen's q8 one for each row. So numbers that are whole steps of
theirs fall between steps of ours, all the more when channels are mixed, and are rounded for a second time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .fold import FoldedModel
from .quantize import QuantModel


@dataclass(frozen=True)
class WeightError:
    """The matrix of a kind that is moved most."""

    name: str
    """As in `QuantModel.matrices`."""
    relative_rms: float
    """Root of the sum of squared errors over that of squared weights."""


def weight_errors(folded: FoldedModel, model: QuantModel) -> dict[str, WeightError]:
    """By kind of matrix, in the order of a forward pass."""
    worst: dict[str, WeightError] = {}
    for name, matrix in model.matrices().items():
        exact = folded.matrices[name].astype(np.float64)
        moved = np.square(matrix.dequantized() - exact).sum() / max(np.square(exact).sum(), np.finfo(float).tiny)
        found, kind = WeightError(name, float(np.sqrt(moved))), name.partition(".")[0]
        if kind not in worst or found.relative_rms > worst[kind].relative_rms:
            worst[kind] = found
    return worst
