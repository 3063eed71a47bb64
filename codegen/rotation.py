"""Rotating a model's channels, so that none stands out from the others: then rounding costs less.

A trained model has channels that are several times larger than all others. A vector that is rounded in steps of its
largest element then loses what the others say, and so do the matrices' rows. But a norm without a gain does not mind
turning: when all that writes to the residual stream is multiplied by an orthogonal R, and all that reads from it by
its inverse, the function stays, and each new channel is a mixture of many old ones. The values of each head are turned
in the same way, between their matrix and the one behind them. (QuaRot: Ashkboos et al., 2024, arXiv:2404.00456;
SpinQuant: Liu et al., 2024, arXiv:2405.16406.)

R is made of Walsh-Hadamard matrices, whose elements are 1 and -1 but for a common factor, and which are their own
inverses. All of it is done here, once, but in one place: where the embedding is the classifier too, the last gain
belongs to the channels as they were, so the last vector is turned back, multiplied by it and turned again, which takes
sums and differences alone (`numerics.hadamard`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .config import ModelConfig
from .numerics import Array, hadamard

_NARROWEST = 128
"""Channels of a model that is rotated. In stories260K, which has 64, none stands out by much: it would win less than a
tenth of what 4 bits cost it, and parts without a float unit would take 2 % more instructions for the last norm."""
_SMALLEST = 16
"""Channels; fewer hide nothing that stands out."""
_REGISTERS = 8


def stream_block(config: ModelConfig) -> int:
    """How many channels of the residual stream are mixed together; 1: none."""
    return _block(config.dim) if config.dim >= _NARROWEST else 1


@dataclass(frozen=True)
class Pass:
    """One of those through a vector that transform it: several steps of `numerics.hadamard` at once."""

    stride: int
    """How far apart the elements are that are mixed"""
    count: int
    """How many"""


def passes_of(block: int) -> list[Pass]:
    """The transform of so many elements, in as few passes as eight registers allow."""
    passes, stride = [], 1
    while stride < block:
        passes.append(Pass(stride, min(_REGISTERS, block // stride)))
        stride *= _REGISTERS
    return passes


def rotate_model(matrices: Mapping[str, Array], config: ModelConfig) -> dict[str, Array]:
    """The folded matrices of the same function in turned channels."""
    if config.dim < _NARROWEST:
        return dict(matrices)
    stream, head = _block(config.dim), _block(config.head_dim)

    def turned(name: str, values: Array) -> Array:
        kind = name.partition(".")[0]
        exact = values.astype(np.float64)
        if kind == "wqkv":
            first_value = config.q_dim + config.kv_dim
            exact[first_value:] = _rows_turned(exact[first_value:], head)
        elif kind == "wo":
            exact = _turned(exact, head)
        exact = _rows_turned(exact, stream) if kind in ("wo", "w2") else _turned(exact, stream)
        return exact.astype(np.float32)

    return {name: turned(name, values) for name, values in matrices.items()}


def _block(width: int) -> int:
    """The largest power of two that divides it."""
    block = width & -width
    return block if block >= _SMALLEST else 1


def _turned(values: npt.NDArray[np.float64], block: int) -> npt.NDArray[np.float64]:
    """Columns turned together, `block` at a time."""
    turned: npt.NDArray[np.float64] = hadamard(values, block) / np.sqrt(block)
    return turned


def _rows_turned(values: npt.NDArray[np.float64], block: int) -> npt.NDArray[np.float64]:
    return _turned(values.T, block).T
