"""The dimensions of a Llama model in GGUF's metadata: to a ModelConfig and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from llgen.errors import LlgenError
from llgen.shown import shown, shown_value

from ...model.config import ModelConfig
from .container import GgufFile, Value
from .keys import require_plain_llama
from .names import ARCHITECTURE


@dataclass(frozen=True)
class Metadata:
    """The key-value pairs of a file, by type; each getter raises LlgenError for a missing key or another type."""

    path: Path
    pairs: Mapping[str, Value]

    def whole(self, key: str, default: int | None = None) -> int:
        """An integer; `default` when the key is absent."""
        value = self.pairs.get(key, default)
        if value is None:
            raise self.missing(key)
        if not isinstance(value, int) or isinstance(value, bool):
            raise LlgenError(f"'{self.path}' has {key} = {shown_value(value)}; it must be one integer")
        return value

    def per_layer(self, key: str, layers: int, default: int | None = None) -> int:
        """An integer, or a list that holds the same integer for each layer."""
        value = self.pairs.get(key)
        if isinstance(value, list) and len(value) == layers and len(set(value)) == 1 and isinstance(value[0], int):
            return int(value[0])
        return self.whole(key, default)

    def real(self, key: str, default: float | None = None) -> float:
        """The shortest decimal number that rounds to the stored float32: 1e-05, and not 9.99999974737875e-06."""
        value = self.pairs.get(key, default)
        if value is None:
            raise self.missing(key)
        if not isinstance(value, float):
            raise LlgenError(f"'{self.path}' has {key} = {shown_value(value)}; it must be a number")
        with np.errstate(over="ignore"):
            return float(str(np.float32(value)))

    def text(self, key: str) -> str:
        """A string."""
        value = self.pairs.get(key)
        if value is None:
            raise self.missing(key)
        if not isinstance(value, str):
            raise LlgenError(f"'{self.path}' has {key} = {shown_value(value)}; it must be text")
        return value

    def texts(self, key: str) -> list[str]:
        """The texts of a list. Raises LlgenError when the file has no such list."""
        value = self.pairs.get(key)
        if value is None:
            raise self.missing(key)
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise LlgenError(f"'{self.path}' has {key} = {shown_value(value)}; it must be a list of texts")
        return [str(each) for each in value]

    def flag(self, key: str, default: bool) -> bool:
        """True or false; `default` when the key is absent."""
        value = self.pairs.get(key, default)
        if not isinstance(value, bool):
            raise LlgenError(f"'{self.path}' has {key} = {shown_value(value)}; it must be true or false")
        return value

    def missing(self, key: str) -> LlgenError:
        """The error for an absent key."""
        return LlgenError(f"'{self.path}' has no {key}, which every GGUF of a Llama model has", "convert it again")


def read_config(file: GgufFile) -> ModelConfig:
    """Read the dimensions of a model; tokenizer.py reads its tokens, rope.py how its rotation is scaled.

    Raises LlgenError for another architecture, a missing key, and a feature that llgen lacks.
    """
    meta = Metadata(file.path, file.metadata)
    architecture = meta.text("general.architecture")
    if architecture != ARCHITECTURE:
        raise LlgenError(f"'{file.path}' is of architecture '{shown(architecture)}'; llgen supports '{ARCHITECTURE}'")
    require_plain_llama(file.metadata, file.path)
    dim, layers = meta.whole("llama.embedding_length"), meta.whole("llama.block_count")
    heads = meta.per_layer("llama.attention.head_count", layers)
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
        hidden_dim=meta.per_layer("llama.feed_forward_length", layers),
        n_layers=layers,
        n_heads=heads,
        n_kv_heads=meta.per_layer("llama.attention.head_count_kv", layers, heads),
        head_dim=head_dim,
        vocab_size=file.tensors["token_embd.weight"].shape[0],
        max_seq_len=meta.whole("llama.context_length"),
        norm_eps=meta.real("llama.attention.layer_norm_rms_epsilon"),
        rope_theta=meta.real("llama.rope.freq_base", 10000.0),
        tied="output.weight" not in file.tensors,
        bos_id=None,
        end_ids=(),
    )
