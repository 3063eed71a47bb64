"""Folding: fewer operations for the same function, before any number is rounded.

In every scheme the gains of the norms and 1 / sqrt(head_dim) are multiplied into the matrix that follows, in float32,
and subnormals become zero. For whole numbers channels are mixed besides, see `rotation`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from .errors import UsageError
from .numerics import Array, Float, flush_subnormals
from .rotation import gain_block, mixed
from .spec import Layer, ModelSpec

SCHEMES = ("f32", "q8", "q4")
KINDS = ("wqkv", "wo", "w13", "w2")
"""The matrices of a layer."""


@dataclass(frozen=True)
class FoldedModel:
    """The float32 matrices that a scheme rounds, by the names of `QuantModel.matrices`."""

    spec: ModelSpec
    scheme: str
    """The one that it was folded for"""
    matrices: Mapping[str, Array]
    final_gain: Array | None
    """[dim]; None when it is folded into a classifier of its own"""
    gain_block: int
    """As in QuantModel."""


def fold(spec: ModelSpec, scheme: str) -> FoldedModel:
    """Multiply gains into the matrices behind them: the gain first, then query rows by 1 / sqrt(head_dim), in float32.

    This order of rounding is contract. A tied embedding is looked up too, so the last gain stays by itself. What
    becomes whole numbers has its channels mixed then. Raises UsageError for a scheme that does not exist.
    """
    if scheme not in SCHEMES:
        raise UsageError(f"there is no scheme '{scheme}'", f"choose one of: {', '.join(SCHEMES)}")
    matrices = {"embedding": spec.embedding}
    for index, layer in enumerate(spec.layers):
        matrices |= {f"{kind}.{index}": values for kind, values in _folded(layer, spec).items()}
    final_gain: Array | None = spec.final_gain
    if spec.classifier is not None:
        matrices["classifier"] = spec.classifier * spec.final_gain
        final_gain = None
    if scheme != "f32":
        matrices = mixed(matrices, spec.config)
    block = gain_block(spec.config, scheme)
    return FoldedModel(
        spec,
        scheme,
        {name: flush_subnormals(values) for name, values in matrices.items()},
        None if final_gain is None else flush_subnormals(final_gain / Float(block)),
        block,
    )


def _folded(layer: Layer, spec: ModelSpec) -> dict[str, Array]:
    config = spec.config
    wqkv = layer.wqkv * layer.attention_gain
    wqkv[: config.q_dim] *= Float(1.0 / math.sqrt(config.head_dim))
    return {"wqkv": wqkv, "wo": layer.wo, "w13": layer.w13 * layer.ffn_gain, "w2": layer.w2}
