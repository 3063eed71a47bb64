"""A Llama as llama2.c and llama.cpp compute it, in float64: RoPE turns elements 2i and 2i + 1 of a head together.

It takes weights straight from an exported file, their rows as they stand there; so that logits which equal ours prove
that the export put every row where these programs look for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from llgen.codegen.model.checkpoint import Checkpoint
from llgen.codegen.model.config import ModelConfig
from llgen.codegen.model.spec import lower
from llgen.codegen.quantise.quantize import quantize
from llgen.codegen.reference.forward import Reference

Array = npt.NDArray[np.float64]


def interleaved_logits(
    config: ModelConfig,
    weights: Mapping[str, npt.ArrayLike],
    tokens: Sequence[int],
    turns: npt.NDArray[np.complex128] | None = None,
) -> Array:
    """[len(tokens), vocab_size]; `weights` by the names of GGUF, blk.0.attn_q and so on, without ".weight".

    `turns` [len(tokens), head_dim / 2] are the factors of the pairs at each position; None: those of a plain rotation.
    """
    w = {name: np.asarray(tensor, dtype=np.float64) for name, tensor in weights.items()}
    if turns is None:
        frequencies = config.rope_theta ** (-np.arange(0, config.head_dim, 2) / config.head_dim)
        turns = np.exp(1j * np.outer(np.arange(len(tokens)), frequencies))
    x = w["token_embd"][list(tokens)]
    for layer in range(config.n_layers):
        here = f"blk.{layer}."
        h = _norm(x, w[here + "attn_norm"], config.norm_eps)
        q = _turn((h @ w[here + "attn_q"].T).reshape(len(tokens), config.n_heads, config.head_dim), turns)
        k = _turn((h @ w[here + "attn_k"].T).reshape(len(tokens), config.n_kv_heads, config.head_dim), turns)
        v = (h @ w[here + "attn_v"].T).reshape(len(tokens), config.n_kv_heads, config.head_dim)
        mixed = np.zeros_like(q)
        for head in range(config.n_heads):
            group = head * config.n_kv_heads // config.n_heads
            scores = q[:, head] @ k[:, group].T / np.sqrt(config.head_dim)
            scores = np.where(np.tri(len(tokens), dtype=bool), scores, -np.inf)
            chances = np.exp(scores - scores.max(axis=1, keepdims=True))
            mixed[:, head] = chances / chances.sum(axis=1, keepdims=True) @ v[:, group]
        x = x + mixed.reshape(len(tokens), -1) @ w[here + "attn_output"].T
        h = _norm(x, w[here + "ffn_norm"], config.norm_eps)
        gate = h @ w[here + "ffn_gate"].T
        x = x + (gate * np.exp(-np.logaddexp(0.0, -gate)) * (h @ w[here + "ffn_up"].T)) @ w[here + "ffn_down"].T
    logits: Array = _norm(x, w["output_norm"], config.norm_eps) @ w.get("output", w["token_embd"]).T
    return logits


def reference_logits(checkpoint: Checkpoint, tokens: Sequence[int]) -> npt.NDArray[np.float32]:
    """What generated C computes, [len(tokens), vocab_size]."""
    return Reference(quantize(lower(checkpoint), "f32")).feed(tokens)


def assert_close(expected: npt.ArrayLike, actual: npt.ArrayLike) -> None:
    """Equal but for float32's rounding, which a narrow model may amplify; misplaced rows make far more difference."""
    expected = np.asarray(expected)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=5e-4 * float(np.abs(expected).max()))


def _norm(x: Array, gain: Array, eps: float) -> Array:
    normalised: Array = x / np.sqrt((x * x).mean(axis=1, keepdims=True) + eps) * gain
    return normalised


def _turn(x: Array, turns: npt.NDArray[np.complex128]) -> Array:
    pairs = (x[..., 0::2] + 1j * x[..., 1::2]) * turns[:, np.newaxis, :]
    out = np.empty_like(x)
    out[..., 0::2], out[..., 1::2] = pairs.real, pairs.imag
    return out
