"""Quantising: the numbers of a model as the device will hold them.

Scheme f32 keeps float32: the gains of the norms and 1 / sqrt(head_dim) are multiplied into the matrix that follows,
and subnormals become zero. What remains is exactly what the C and the NumPy reference both compute with.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .config import ModelConfig
from .errors import UsageError
from .numerics import Array, Float, flush_subnormals
from .spec import Layer, ModelSpec
from .vocabulary import Vocabulary

SCHEMES = ("f32",)


@dataclass(frozen=True)
class QuantLayer:
    """The matrices of one layer, gains folded in; shapes as in spec.Layer."""

    wqkv: Array
    wo: Array
    w13: Array
    w2: Array


@dataclass(frozen=True)
class QuantModel:
    """A model in the number format of its scheme."""

    name: str
    sha256: str
    scheme: str
    config: ModelConfig
    context: int
    embedding: Array
    """[vocab_size, dim]; the classifier too, when that is None"""
    layers: tuple[QuantLayer, ...]
    final_gain: Array | None
    """[dim]; None when it is folded into a classifier of its own"""
    classifier: Array | None
    """[vocab_size, dim]"""
    rope_cos: Array
    rope_sin: Array
    error: Mapping[str, float]
    """Largest |held - exact| of each kind of matrix, relative to the largest |exact|."""
    vocabulary: Vocabulary | None

    @property
    def start_id(self) -> int:
        """The token that a sequence begins with."""
        return self.config.bos_id


def quantize(spec: ModelSpec, scheme: str) -> QuantModel:
    """Turn a ModelSpec into the numbers of `scheme`.

    Raises UsageError for a scheme that does not exist.
    """
    if scheme not in SCHEMES:
        raise UsageError(f"there is no scheme '{scheme}'", f"choose one of: {', '.join(SCHEMES)}")
    layers = tuple(_fold(layer, spec.config) for layer in spec.layers)
    classifier = None if spec.classifier is None else flush_subnormals(spec.classifier * spec.final_gain)
    return QuantModel(
        name=spec.name,
        sha256=spec.sha256,
        scheme=scheme,
        config=spec.config,
        context=spec.context,
        embedding=flush_subnormals(spec.embedding),
        layers=layers,
        final_gain=flush_subnormals(spec.final_gain) if classifier is None else None,
        classifier=classifier,
        rope_cos=flush_subnormals(spec.rope_cos),
        rope_sin=flush_subnormals(spec.rope_sin),
        error=_errors(spec, layers),
        vocabulary=spec.vocabulary,
    )


def _fold(layer: Layer, config: ModelConfig) -> QuantLayer:
    """Multiply by the gain first, then query rows by 1 / sqrt(head_dim): this order of rounding is contract."""
    wqkv = layer.wqkv * layer.attention_gain
    wqkv[: config.q_dim] *= Float(1.0 / math.sqrt(config.head_dim))
    return QuantLayer(
        wqkv=flush_subnormals(wqkv),
        wo=flush_subnormals(layer.wo),
        w13=flush_subnormals(layer.w13 * layer.ffn_gain),
        w2=flush_subnormals(layer.w2),
    )


def _errors(spec: ModelSpec, layers: tuple[QuantLayer, ...]) -> dict[str, float]:
    errors = {"wqkv": 0.0, "wo": 0.0, "w13": 0.0, "w2": 0.0}
    for layer, held in zip(spec.layers, layers, strict=True):
        query_scale = np.ones((spec.config.q_dim + 2 * spec.config.kv_dim, 1))
        query_scale[: spec.config.q_dim] = 1.0 / math.sqrt(spec.config.head_dim)
        exact = {
            "wqkv": layer.wqkv.astype(np.float64) * layer.attention_gain * query_scale,
            "wo": layer.wo.astype(np.float64),
            "w13": layer.w13.astype(np.float64) * layer.ffn_gain,
            "w2": layer.w2.astype(np.float64),
        }
        for kind, values in exact.items():
            largest = float(np.abs(values).max())
            difference = float(np.abs(getattr(held, kind) - values).max())
            errors[kind] = max(errors[kind], difference / largest if largest else 0.0)
    return errors
