"""Mixing a model's channels, so that none stands out from the others: then rounding costs less.

A trained model has channels that are several times larger than all others. A vector that is rounded in steps of its
largest element then loses what the others say. But a norm without a gain does not mind a rotation: when all that writes
to the residual stream is multiplied by an orthogonal R, and all that reads from it by its inverse, the function stays,
and each new channel is a mixture of many old ones. The values of each head are mixed likewise, between their matrix and
the one behind them. (QuaRot: Ashkboos et al., 2024, arXiv:2404.00456; SpinQuant: Liu et al., 2024, arXiv:2405.16406.)

R consists of Walsh-Hadamard matrices H along its diagonal, of 1 and -1, over the root of their size B: H H = B, so that
R is its own inverse. All of it is multiplied into the matrices, with one exception: where the embedding is the
classifier too, the last gain belongs to the channels as they were. So the last vector is mixed, multiplied by the gain,
and mixed again at run time (`numerics.hadamard`); the gain is divided by B for that.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from .config import ModelConfig
from .numerics import Array, hadamard

_NARROWEST = 128
"""Channels of a model with a tied embedding that is worth mixing the last vector twice. In stories260K, which has 64,
none stands out by much: 4 bits by GPTQ would lose 0.068 nats in place of 0.074, and parts without a float unit would
take 2 % more instructions a token."""
_SMALLEST = 16
"""Channels that are mixed together: what stands out becomes smaller by the root of it."""
_ROWS = 64
"""At a time, which a cache holds; all at once takes six times as long."""


def stream_block(config: ModelConfig) -> int:
    """How many channels of the residual stream are mixed together; 1: none."""
    return 1 if config.tied and config.dim < _NARROWEST else _block(config.dim)


def head_block(config: ModelConfig) -> int:
    """How many of a head's values are mixed together; 1: none."""
    return _block(config.head_dim)


def gain_block(config: ModelConfig, scheme: str) -> int:
    """How many channels are mixed together before the last gain, and again behind it; 1: none."""
    return stream_block(config) if config.tied and scheme != "f32" else 1


def mixed(matrices: Mapping[str, Array], config: ModelConfig) -> dict[str, Array]:
    """The folded matrices of the same function with mixed channels; computed in float64, and rounded once."""
    stream, head, first_value = stream_block(config), head_block(config), config.q_dim + config.kv_dim
    result: dict[str, Array] = {}
    for name, values in matrices.items():
        exact, kind = values.astype(np.float64), name.partition(".")[0]
        if kind == "wqkv":
            exact[first_value:] = _rows_mixed(exact[first_value:], head)
        if kind == "wo":
            exact = _columns_mixed(exact, head)
        exact = _rows_mixed(exact, stream) if kind in ("wo", "w2") else _columns_mixed(exact, stream)
        result[name] = exact.astype(np.float32)
    return result


def _block(width: int) -> int:
    """The largest power of two that divides it, if it is worth it; else 1."""
    block = width & -width
    return block if block >= _SMALLEST else 1


def _columns_mixed(values: npt.NDArray[np.float64], block: int) -> npt.NDArray[np.float64]:
    if block == 1:
        return values
    parts = [hadamard(values[first : first + _ROWS], block) for first in range(0, len(values), _ROWS)]
    result: npt.NDArray[np.float64] = np.concatenate(parts) / np.sqrt(block)
    return result


def _rows_mixed(values: npt.NDArray[np.float64], block: int) -> npt.NDArray[np.float64]:
    return _columns_mixed(values.T, block).T
