"""Lowering: a Checkpoint becomes the matrices and tables that one forward pass uses, in the order it uses them.

This stage knows Llama; it knows neither C nor any target, and rounds nothing but the RoPE tables.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .checkpoint import Checkpoint
from .config import ModelConfig
from .errors import LlgenError
from .numerics import Array
from .vocabulary import Vocabulary


@dataclass(frozen=True)
class Layer:
    """The weights of one layer; those that read the same vector are fused, one above the other."""

    attention_gain: Array
    """[dim]"""
    wqkv: Array
    """[q_dim + 2 kv_dim, dim]: queries, keys, values"""
    wo: Array
    """[dim, q_dim]"""
    ffn_gain: Array
    """[dim]"""
    w13: Array
    """[2 hidden_dim, dim]: gate, up"""
    w2: Array
    """[dim, hidden_dim]"""


@dataclass(frozen=True)
class ModelSpec:
    """What a forward pass needs, before any decision about number formats."""

    name: str
    config: ModelConfig
    context: int
    """Positions to build for; at most config.max_seq_len."""
    embedding: Array
    """[vocab_size, dim]"""
    layers: tuple[Layer, ...]
    final_gain: Array
    """[dim]"""
    classifier: Array | None
    """[vocab_size, dim]; None: the embedding serves"""
    rope_cos: Array
    """[context, head_dim / 2]"""
    rope_sin: Array
    vocabulary: Vocabulary | None


def lower(checkpoint: Checkpoint, context: int | None = None) -> ModelSpec:
    """Fuse the matrices that share an input and tabulate RoPE for `context` positions (default: the model's).

    Raises LlgenError when the model was not trained for that many positions.
    """
    config = checkpoint.config
    positions = config.max_seq_len if context is None else context
    if not 1 <= positions <= config.max_seq_len:
        raise LlgenError(f"a context of {positions} was asked for; the model has 1 to {config.max_seq_len} positions")
    tensors = checkpoint.tensors
    cos, sin = rope_tables(config, positions)
    return ModelSpec(
        name=checkpoint.name,
        config=config,
        context=positions,
        embedding=tensors["model.embed_tokens.weight"],
        layers=tuple(_layer(checkpoint, index) for index in range(config.n_layers)),
        final_gain=tensors["model.norm.weight"],
        classifier=None if config.tied else tensors["lm_head.weight"],
        rope_cos=cos,
        rope_sin=sin,
        vocabulary=checkpoint.vocabulary,
    )


def rope_tables(config: ModelConfig, positions: int) -> tuple[Array, Array]:
    """cos and sin of position * theta^(-2i / head_dim), [positions, head_dim / 2]; float64, rounded once.

    None is subnormal: theta is at most 1e9, so the smallest angle but 0 is above 1e-9, and a float64 comes no nearer to
    a zero of the cosine than some 1e-17.
    """
    frequency = config.rope_theta ** (-np.arange(0, config.head_dim, 2, dtype=np.float64) / config.head_dim)
    angle = np.outer(np.arange(positions, dtype=np.float64), frequency)
    return np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)


def _layer(checkpoint: Checkpoint, index: int) -> Layer:
    def tensor(name: str) -> Array:
        return checkpoint.tensors[f"model.layers.{index}.{name}.weight"]

    return Layer(
        attention_gain=tensor("input_layernorm"),
        wqkv=np.concatenate([tensor(f"self_attn.{kind}_proj") for kind in "qkv"]),
        wo=tensor("self_attn.o_proj"),
        ffn_gain=tensor("post_attention_layernorm"),
        w13=np.concatenate([tensor("mlp.gate_proj"), tensor("mlp.up_proj")]),
        w2=tensor("mlp.down_proj"),
    )
