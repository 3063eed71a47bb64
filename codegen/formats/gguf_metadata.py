"""The dimensions of a Llama model in GGUF's metadata: to a ModelConfig and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..config import ModelConfig
from ..errors import LlgenError
from .gguf_container import GgufFile, Value
from .gguf_names import ARCHITECTURE

# What llgen's models have not. A key that is absent, or has the value beside it, changes nothing.
_NEUTRAL: dict[str, tuple[Value, str]] = {
    "llama.expert_count": (0, "a mixture of experts"),
    "llama.rope.scaling.type": ("none", "RoPE scaling"),
    "llama.rope.scale_linear": (1.0, "RoPE scaling"),
    "llama.rope.scaling.factor": (1.0, "RoPE scaling"),
    "llama.attention.sliding_window": (0, "a sliding attention window"),
    "llama.attention.causal": (True, "attention to later positions"),
    "split.count": (1, "one of several parts of a split model"),
}


@dataclass(frozen=True)
class Metadata:
    """The key-value pairs of a file, taken by type; each getter raises LlgenError for a missing key or another type."""

    path: Path
    pairs: Mapping[str, Value]

    def whole(self, key: str, default: int | None = None) -> int:
        """A whole number; `default` when the key is absent."""
        value = self.pairs.get(key, default)
        if value is None:
            raise self.missing(key)
        if not isinstance(value, int) or isinstance(value, bool):
            raise LlgenError(f"'{self.path}' has {key} = {_shown(value)}; it must be one whole number")
        return value

    def real(self, key: str, default: float | None = None) -> float:
        """The shortest decimal number that rounds to the stored float32: 1e-05, and not 9.99999974737875e-06."""
        value = self.pairs.get(key, default)
        if value is None:
            raise self.missing(key)
        if not isinstance(value, float):
            raise LlgenError(f"'{self.path}' has {key} = {_shown(value)}; it must be a number")
        with np.errstate(over="ignore"):
            return float(str(np.float32(value)))

    def text(self, key: str) -> str:
        """A string."""
        value = self.pairs.get(key)
        if value is None:
            raise self.missing(key)
        if not isinstance(value, str):
            raise LlgenError(f"'{self.path}' has {key} = {_shown(value)}; it must be text")
        return value

    def flag(self, key: str, default: bool) -> bool:
        """True or false; `default` when the key is absent."""
        value = self.pairs.get(key, default)
        if not isinstance(value, bool):
            raise LlgenError(f"'{self.path}' has {key} = {_shown(value)}; it must be true or false")
        return value

    def missing(self, key: str) -> LlgenError:
        """The error for an absent key."""
        return LlgenError(f"'{self.path}' has no {key}, which every GGUF of a Llama model has", "convert it again")


def read_config(file: GgufFile) -> ModelConfig:
    """The dimensions of a model.

    Raises LlgenError for another architecture, a missing key, and a feature that llgen lacks.
    """
    meta = Metadata(file.path, file.metadata)
    architecture = meta.text("general.architecture")
    if architecture != ARCHITECTURE:
        raise LlgenError(f"'{file.path}' is of architecture '{architecture}'; llgen supports '{ARCHITECTURE}'")
    for key, (neutral, what) in _NEUTRAL.items():
        if meta.pairs.get(key, neutral) != neutral:
            raise LlgenError(f"'{file.path}' has {key} = {_shown(meta.pairs[key])}: {what}, which llgen lacks")
    if "rope_freqs.weight" in file.tensors:
        raise LlgenError(f"'{file.path}' has a table rope_freqs.weight: RoPE scaling, which llgen lacks")
    dim, heads = meta.whole("llama.embedding_length"), meta.whole("llama.attention.head_count")
    if heads < 1:
        raise LlgenError(f"'{file.path}' has llama.attention.head_count = {heads}; it must be at least 1")
    head_dim = meta.whole("llama.attention.key_length", dim // heads)
    for key in ("llama.attention.value_length", "llama.rope.dimension_count"):
        if meta.whole(key, head_dim) != head_dim:
            raise LlgenError(f"'{file.path}' has {key} = {meta.whole(key)}; llgen asks for head_dim, {head_dim}")
    if "token_embd.weight" not in file.tensors:
        raise LlgenError(f"'{file.path}' has no tensor token_embd.weight", "it may be a vocabulary without a model")
    return ModelConfig(
        dim=dim,
        hidden_dim=meta.whole("llama.feed_forward_length"),
        n_layers=meta.whole("llama.block_count"),
        n_heads=heads,
        n_kv_heads=meta.whole("llama.attention.head_count_kv", heads),
        head_dim=head_dim,
        vocab_size=file.tensors["token_embd.weight"].shape[0],
        max_seq_len=meta.whole("llama.context_length"),
        norm_eps=meta.real("llama.attention.layer_norm_rms_epsilon"),
        rope_theta=meta.real("llama.rope.freq_base", 10000.0),
        tied="output.weight" not in file.tensors,
        bos_id=meta.whole("tokenizer.ggml.bos_token_id", 1),
        eos_id=meta.whole("tokenizer.ggml.eos_token_id", 2),
    )


def _shown(value: Value) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
