"""Folding: fewer operations for the same function, before any number is rounded.

In every scheme the gains of the norms and 1 / sqrt(head_dim) are multiplied into the matrix that follows, in float32,
and subnormals become zero. For whole numbers the channels are rotated besides, see `rotation`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from .numerics import Array, Float, flush_subnormals
from .rotation import rotate_model, stream_block
from .spec import Layer, ModelSpec

KINDS = ("wqkv", "wo", "w13", "w2")
"""The matrices of a layer."""


@dataclass(frozen=True)
class FoldedModel:
    """The float32 matrices that a scheme rounds, by the names of `QuantModel.matrices`."""

    spec: ModelSpec
    matrices: Mapping[str, Array]
    final_gain: Array | None
    """[dim]; None when it is folded into a classifier of its own"""
    hadamard_block: int
    """As in QuantModel."""


def fold(spec: ModelSpec, scheme: str) -> FoldedModel:
    """Multiply gains into the matrices behind them: the gain first, then query rows by 1 / sqrt(head_dim).

    This order of rounding is contract. A tied embedding is looked up too, so the last gain stays by itself.
    """
    matrices = {"embedding": spec.embedding}
    for index, layer in enumerate(spec.layers):
        matrices |= {f"{kind}.{index}": values for kind, values in _folded(layer, spec).items()}
    final_gain = None if spec.classifier is not None else spec.final_gain
    if spec.classifier is not None:
        matrices["classifier"] = spec.classifier * spec.final_gain
    block = 1 if scheme == "f32" else stream_block(spec.config)
    if scheme != "f32":
        matrices = rotate_model(matrices, spec.config)
    if final_gain is not None:
        final_gain = flush_subnormals(final_gain / Float(block))  # both turns together multiply by so much
    matrices = {name: flush_subnormals(values) for name, values in matrices.items()}
    return FoldedModel(spec, matrices, final_gain, 1 if final_gain is None else block)


def _folded(layer: Layer, spec: ModelSpec) -> dict[str, Array]:
    config = spec.config
    wqkv = layer.wqkv * layer.attention_gain
    wqkv[: config.q_dim] *= Float(1.0 / math.sqrt(config.head_dim))
    return {"wqkv": wqkv, "wo": layer.wo, "w13": layer.w13 * layer.ffn_gain, "w2": layer.w2}
