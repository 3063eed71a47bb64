"""Models of known shapes with random weights: speed does not depend on values, so no download is needed."""

from __future__ import annotations

import numpy as np

from llgen.errors import unknown_name

from ..contract.numerics import Array
from ..model.architectures import tensor_shapes
from ..model.checkpoint import Checkpoint
from ..model.config import ModelConfig

_SEED = 1


def _shape(dim: int, hidden: int, layers: int, heads: int, kv_heads: int, vocab: int, context: int) -> ModelConfig:
    return ModelConfig(dim, hidden, layers, heads, kv_heads, dim // heads, vocab, context)


SHAPES = {
    "260k": _shape(64, 172, 5, 8, 4, 512, 512),
    "15m": _shape(288, 768, 6, 6, 6, 32000, 256),
    "42m": _shape(512, 1376, 8, 8, 8, 32000, 1024),
    "110m": _shape(768, 2048, 12, 12, 12, 32000, 1024),
}
"""The published models of the tinyllamas family (github.com/karpathy/llama2.c), by their numbers of parameters."""


def shape_named(name: str) -> ModelConfig:
    """A shape of SHAPES; raises UsageError for an unknown name."""
    if name.lower() not in SHAPES:
        raise unknown_name("shape", name, SHAPES)
    return SHAPES[name.lower()]


def random_model(config: ModelConfig, name: str) -> Checkpoint:
    """A model of normally distributed weights, the same at each call, without a tokenizer.

    Gains are 1. Weights are scaled so that a product is about as long as the vector that is multiplied; no activation
    grows without limit or vanishes.
    """
    generator = np.random.default_rng(_SEED)

    def tensor(shape: tuple[int, ...]) -> Array:
        if len(shape) == 1:
            return np.ones(shape, np.float32)
        return generator.standard_normal(shape, np.float32) / np.float32(np.sqrt(shape[-1]))

    return Checkpoint(name, config, {key: tensor(shape) for key, shape in tensor_shapes(config).items()}, None)
