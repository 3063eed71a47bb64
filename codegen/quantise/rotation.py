"""Mixing a model's channels, so that no channel is much larger than the others: then rounding costs less.

A trained model has channels that are several times larger than all others. When a vector is rounded in steps of its
largest element, its other elements have few steps. A rotation does not change a norm without a gain: when everything
that writes to the residual stream is multiplied by an orthogonal R, and everything that reads from it by the inverse of
R, the function does not change, and each new channel is a mixture of many old ones. The values of each head are mixed
likewise, between the matrix that makes them and the matrix that reads them. (QuaRot: Ashkboos et al., 2024,
arXiv:2404.00456; SpinQuant: Liu et al., 2024, arXiv:2405.16406.)

R consists of Walsh-Hadamard matrices H of 1 and -1 along its diagonal, divided by the root of their size B: H H = B I,
so that R is its own inverse. R is multiplied into all matrices, with one exception: where the embedding is also the
classifier, the last gain belongs to the original channels. So at run time the last vector is mixed, multiplied by the
gain, and mixed again (`numerics.hadamard`); for this the gain is divided by B.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from ..contract.numerics import Array, hadamard
from ..model.architectures import graph_of
from ..model.architectures.graph import Mixing
from ..model.config import ModelConfig

_NARROWEST = 128
"""Minimum channels of a model with a tied embedding whose last vector is worth mixing twice. In stories260K, which has
64, no channel is much larger: 4 bits by GPTQ would lose 0.068 nats instead of 0.074, and processors without a float
unit would take 2 % more instructions per token."""
_SMALLEST = 16
"""Minimum channels that are mixed together: a large channel becomes smaller by the square root of their number."""
_ROWS = 64
"""Rows that are mixed at a time, so that a cache holds them; all rows at once take six times as long."""


def stream_block(config: ModelConfig) -> int:
    """How many channels of the residual stream are mixed together; 1: none."""
    return 1 if config.tied and config.dim < _NARROWEST else _block(config.dim)


def head_block(config: ModelConfig) -> int:
    """How many of a head's values are mixed together; 1: none."""
    return _block(config.head_dim)


def gain_block(config: ModelConfig, scheme: str) -> int:
    """How many channels are mixed together before the last gain, and again after it; 1: none."""
    return stream_block(config) if config.tied and scheme != "f32" else 1


def mixed(matrices: Mapping[str, Array], config: ModelConfig) -> dict[str, Array]:
    """The folded matrices of the same function with mixed channels; computed in float64, and rounded once."""
    blocks, graph = {Mixing.HEADS: head_block(config), Mixing.STREAM: stream_block(config)}, graph_of(config)
    result: dict[str, Array] = {}
    for name, values in matrices.items():
        exact, matrix = values.astype(np.float64), graph.matrix(name)
        for mixing, block in blocks.items():
            if matrix.columns.mixing is mixing:
                _mix_columns(exact, block)
            for part, rows in matrix.slices():
                if part.rows.mixing is mixing:
                    _mix_columns(exact[rows].T, block)
        result[name] = exact.astype(np.float32)
    return result


def _block(width: int) -> int:
    """The largest power of two that divides it, if it is worth it; else 1."""
    block = width & -width
    return block if block >= _SMALLEST else 1


def _mix_columns(values: npt.NDArray[np.float64], block: int) -> None:
    """Mix the columns of `values` in place."""
    if block == 1:
        return
    for first in range(0, len(values), _ROWS):
        part = values[first : first + _ROWS]
        part[:] = hadamard(part, block) / np.sqrt(block)
