"""A trained model in memory: its configuration, its float32 weights and its tokenizer."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from llgen.errors import LlgenError
from llgen.shown import shown

from ..contract.numerics import Array
from .architectures import tensor_shapes
from .config import ModelConfig
from .vocabulary import Vocabulary


@dataclass(frozen=True)
class Checkpoint:
    """A trained model in memory, the input of every stage after loading.

    `tensors` maps Hugging Face names to float32 arrays of `tensor_shapes(config)`; wq and wk are in Hugging Face's
    row order (RoPE rotates element i of a head with element i + head_dim / 2).
    """

    name: str
    config: ModelConfig
    tensors: Mapping[str, Array]
    vocabulary: Vocabulary | None
    """None: the model has no tokenizer; it takes and gives token ids."""

    def __post_init__(self) -> None:
        shapes = tensor_shapes(self.config)
        for name, shape in shapes.items():
            tensor = self.tensors.get(name)
            if tensor is None:
                raise LlgenError(f"tensor '{name}' is missing from model '{self.name}'", "is this a Llama model?")
            if tensor.shape != shape:
                raise LlgenError(f"tensor '{name}' has shape {tensor.shape}; the config asks for {shape}")
            if not np.isfinite(tensor).all():
                bad = int(np.flatnonzero(~np.isfinite(tensor.ravel()))[0])
                raise LlgenError(
                    f"tensor '{name}' holds {tensor.ravel()[bad]} at element {bad}; weights must be finite",
                    "training diverged, or the file is corrupt",
                )
        unknown = sorted(set(self.tensors) - set(shapes))
        if unknown:
            raise LlgenError(
                f"tensor '{shown(unknown[0])}' of model '{self.name}' is none of a Llama model's",
                "biases, adapters and other architectures are not supported",
            )
        if self.vocabulary is not None and len(self.vocabulary) != self.config.vocab_size:
            raise LlgenError(
                f"the tokenizer holds {len(self.vocabulary)} pieces; the model has {self.config.vocab_size}",
                "give the tokenizer that the model was trained with",
            )

    @property
    def sha256(self) -> str:
        """A hash of everything that determines the generated C: dimensions, weights and tokenizer."""
        digest = hashlib.sha256(self.config.identity)
        for name in tensor_shapes(self.config):
            digest.update(name.encode())
            digest.update(np.ascontiguousarray(self.tensors[name], dtype="<f4").data)
        if self.vocabulary is not None:
            digest.update(self.vocabulary.identity)
        return digest.hexdigest()
