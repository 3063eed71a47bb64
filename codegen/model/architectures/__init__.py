"""Architectures: one file each, which turns a configuration into the graph of a network (graph.py)."""

from __future__ import annotations

import math
from functools import lru_cache

from ..config import ModelConfig
from . import llama
from .graph import Graph


@lru_cache(maxsize=64)
def graph_of(config: ModelConfig) -> Graph:
    """The network of a configuration."""
    return llama.graph(config)


def tensor_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor of a model, by its Hugging Face name, in the order in which tensors are stored."""
    return {tensor.name.huggingface: tensor.shape for tensor in graph_of(config).tensors()}


def parameter_count(config: ModelConfig) -> int:
    """Numbers stored in all tensors."""
    return sum(math.prod(shape) for shape in tensor_shapes(config).values())
