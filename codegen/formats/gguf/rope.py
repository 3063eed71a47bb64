"""RoPE scaling in GGUF: the keys `llama.rope.scaling.…` and the tensor `rope_freqs.weight`, as llama.cpp uses them.

For a Llama, llama.cpp (llama-cpp-python 0.3.36) looks at type, factor, original_context_length and attn_factor.
yarn's attention factor is the usual one times attn_factor, and its other parameters are fixed; the keys for them belong
to other architectures. rope_freqs holds a divisor for each pair of a head. So what yarn's keys cannot say, and llama3,
which has no keys, are written as that tensor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from gguf import GGUFWriter, RopeScalingType

from llgen.errors import LlgenError
from llgen.shown import shown_value

from ...contract.numerics import Array
from ...model.config import ModelConfig
from ...model.rope import LinearScaling, Llama3Scaling, RopeScaling, TableScaling, YarnScaling, plain_frequencies
from .container import GgufFile
from .metadata import Metadata
from .tensors import read_tensor

TABLE = "rope_freqs.weight"

_KINDS = ("none", "linear", "yarn")


def read_scaling(file: GgufFile, config: ModelConfig) -> RopeScaling | None:
    """The scaling of a file's rotation; None when it has none. `config` holds the other dimensions.

    Raises LlgenError for a kind that llgen lacks, and values out of range.
    """
    meta, pairs = Metadata(file.path, file.metadata), file.metadata
    kind = meta.text("llama.rope.scaling.type") if "llama.rope.scaling.type" in pairs else "linear"
    if kind not in _KINDS:
        raise LlgenError(
            f"'{file.path}' has llama.rope.scaling.type = {shown_value(kind)}; llgen supports {', '.join(_KINDS)}"
        )
    older = "llama.rope.scale_linear" if "llama.rope.scaling.factor" not in pairs else ""
    factor = meta.real(older or "llama.rope.scaling.factor", 0.0)
    factor = 1.0 if factor == 0.0 or kind == "none" else factor
    attention = meta.real("llama.rope.scaling.attn_factor", 1.0)

    def made(scaling: type[RopeScaling], **values: Any) -> RopeScaling:
        try:
            return scaling(**values)
        except LlgenError as error:
            raise LlgenError(f"'{file.path}' has llama.rope.scaling whose {error.message}", error.hint) from error

    pairs_of_a_head = config.head_dim // 2
    divisors = read_tensor(file, TABLE, (pairs_of_a_head,)) if TABLE in file.tensors else None
    if kind == "yarn":
        if divisors is not None:
            raise LlgenError(f"'{file.path}' has llama.rope.scaling.type = 'yarn' and {TABLE}; llgen supports one")
        original = meta.whole("llama.rope.scaling.original_context_length", 0) or meta.whole("llama.context_length")
        attention *= YarnScaling.usual_attention_factor(factor)
        return made(YarnScaling, factor=factor, original_max_position_embeddings=original, attention_factor=attention)
    if divisors is None and attention == 1.0:
        return None if factor == 1.0 else made(LinearScaling, factor=factor)
    if divisors is None:
        divisors = np.ones(pairs_of_a_head, np.float32)
    factors = tuple(factor * float(str(divisor)) for divisor in divisors)
    table = made(TableScaling, factors=factors, attention_factor=attention)
    return table if attention != 1.0 else _llama3(factors, config) or table


def _llama3(factors: Sequence[float], config: ModelConfig) -> Llama3Scaling | None:
    """The scaling of Llama 3.1 to 3.3 if it gives these factors, except for the rounding of float32; else None.

    So the same model has the same scaling, whether it is read from a GGUF or from a Hugging Face directory.
    """
    factor = max(factors)
    if factor <= 1.0:
        return None
    scaling = Llama3Scaling(factor, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=8192)
    theta, head_dim = config.rope_theta, config.head_dim
    expected = plain_frequencies(theta, head_dim) / scaling.frequencies(theta, head_dim)
    return scaling if np.allclose(factors, expected, rtol=2e-5, atol=0.0) else None


def add_scaling(writer: GGUFWriter, config: ModelConfig) -> Array | None:
    """Write the keys of a model's scaling; returns the tensor `rope_freqs` for what they do not say, or None."""
    scaling = config.rope_scaling
    if scaling is None:
        return None
    if isinstance(scaling, LinearScaling):
        writer.add_rope_scaling_type(RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(scaling.factor)
        return None
    attention = scaling.attention_factor
    if isinstance(scaling, YarnScaling):
        usual = YarnScaling.usual_attention_factor(scaling.factor)
        if replace(scaling, attention_factor=usual) == YarnScaling(
            scaling.factor, scaling.original_max_position_embeddings, usual
        ):
            writer.add_rope_scaling_type(RopeScalingType.YARN)
            writer.add_rope_scaling_factor(scaling.factor)
            writer.add_rope_scaling_orig_ctx_len(scaling.original_max_position_embeddings)
            _add_attention_factor(writer, attention / usual)
            return None
    _add_attention_factor(writer, attention)
    divisors: Array = (plain_frequencies(config.rope_theta, config.head_dim) / config.rope_frequencies()).astype("<f4")
    return divisors


def _add_attention_factor(writer: GGUFWriter, factor: float) -> None:
    if np.float32(factor) != 1.0:
        writer.add_rope_scaling_attn_factors(factor)
