"""Lowering: a Checkpoint becomes the matrices and tables that one forward pass uses, in the order it uses them.

This stage follows the graph of the architecture; it knows neither C nor any target, and rounds nothing but the RoPE
tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from llgen.errors import LlgenError

from ..contract.numerics import Array
from .architectures import graph_of
from .architectures.graph import Graph, WeightMatrix
from .checkpoint import Checkpoint
from .config import ModelConfig
from .on_demand import OnDemand
from .vocabulary import Vocabulary


@dataclass(frozen=True)
class ModelSpec:
    """What a forward pass needs, before any decision about number formats."""

    name: str
    config: ModelConfig
    context: int
    """Positions to build for; at most config.max_seq_len."""
    matrices: Mapping[str, Array]
    """[rows, columns] each, by the names of `Graph.each_matrix`; parts that read one vector are fused."""
    gains: Mapping[str, Array]
    """[dim] each: factors of norms, by Hugging Face's names."""
    rope_cos: Array
    """[context, head_dim / 2]"""
    rope_sin: Array
    vocabulary: Vocabulary | None

    @property
    def graph(self) -> Graph:
        """The network."""
        return graph_of(self.config)

    @property
    def embedding(self) -> Array:
        """[vocab_size, dim]"""
        return self.matrices[self.graph.embedding.name]


def lower(checkpoint: Checkpoint, context: int | None = None) -> ModelSpec:
    """Fuse the matrices that share an input and tabulate RoPE for `context` positions (default: the model's).

    Raises LlgenError when the model was not trained for that many positions.
    """
    config = checkpoint.config
    positions = config.max_seq_len if context is None else context
    if not 1 <= positions <= config.max_seq_len:
        raise LlgenError(
            f"a context of {positions} was asked for; the model has 1 to {config.max_seq_len} positions",
            f"--context {config.max_seq_len}, or less",
            facts={"value": positions, "minimum": 1, "maximum": config.max_seq_len},
        )
    graph = graph_of(config)
    matrices = {name: (matrix, layer) for name, matrix, layer in graph.each_matrix()}
    cos, sin = rope_tables(config, positions)
    return ModelSpec(
        name=checkpoint.name,
        config=config,
        context=positions,
        matrices=OnDemand(matrices, lambda name: _fused(checkpoint, *matrices[name])),
        gains={name: checkpoint.tensors[name] for name in graph.gains()},
        rope_cos=cos,
        rope_sin=sin,
        vocabulary=checkpoint.vocabulary,
    )


def rope_tables(config: ModelConfig, positions: int) -> tuple[Array, Array]:
    """cos and sin of position * frequency, times the amplitude, [positions, head_dim / 2]; float64, rounded once.

    None is subnormal: theta is at most 1e9 and a factor at most 2^16, so the smallest angle but 0 is above 1e-14, a
    float64 comes no nearer to a zero of the cosine than some 1e-17, and the amplitude is at least 2^-10.
    """
    angle = np.outer(np.arange(positions, dtype=np.float64), config.rope_frequencies())
    amplitude = config.rope_amplitude
    return (amplitude * np.cos(angle)).astype(np.float32), (amplitude * np.sin(angle)).astype(np.float32)


def _fused(checkpoint: Checkpoint, matrix: WeightMatrix, layer: int) -> Array:
    parts = [checkpoint.tensors[part.name.of(layer).huggingface] for part in matrix.parts]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
