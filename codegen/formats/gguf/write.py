"""Write a Checkpoint as a GGUF file, for llama.cpp and the programs built on it.

The rows of wq and wk are put into interleaved order (rope_rows.py). Vectors stay float32. Q8_0 and Q4_0 store rows in
blocks of 32 numbers; a matrix of another width stays F16, as in llama.cpp's own tools. The matrix that gives the
logits (the embedding, when it is tied) is stored in Q8_0 in a file of 4 bits. llama.cpp's own tools use Q8_0 or Q6_K
there; the gguf package cannot write Q6_K.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from gguf import GGML_QUANT_SIZES, GGML_QUANT_VERSION, GGMLQuantizationType, GGUFWriter, LlamaFileType
from gguf.quants import quantize

from llgen.errors import LlgenError
from llgen.paths import Pathlike
from llgen.whole import replacing

from ...contract.numerics import Array
from ...model.architectures import graph_of
from ...model.checkpoint import Checkpoint
from ...model.config import ModelConfig
from ..rope_rows import to_interleaved
from .names import ARCHITECTURE, gguf_names
from .rope import TABLE, add_scaling
from .tokenizer import write_vocabulary

BLOCK = 32
"""Consecutive numbers that share a scale in Q8_0 and Q4_0."""

TYPES = {
    "f32": (GGMLQuantizationType.F32, LlamaFileType.ALL_F32),
    "f16": (GGMLQuantizationType.F16, LlamaFileType.MOSTLY_F16),
    "q8_0": (GGMLQuantizationType.Q8_0, LlamaFileType.MOSTLY_Q8_0),
    "q4_0": (GGMLQuantizationType.Q4_0, LlamaFileType.MOSTLY_Q4_0),
}
"""Name -> type of the matrices, and the file type in the metadata."""


def write_gguf(checkpoint: Checkpoint, path: Pathlike, kind: str) -> list[str]:
    """Write a file completely or not at all; returns the tensors that stay F16 because blocks do not divide their rows.

    Raises LlgenError for weights beyond the range of `kind`, one of TYPES, and a `path` that cannot be written.
    """
    path = Path(path)
    wanted, file_type = TYPES[kind]
    config = checkpoint.config
    classifier = {part.name.huggingface for part in graph_of(config).classifier.parts}
    kept: list[str] = []
    with replacing(path) as temporary:
        writer = GGUFWriter(temporary, ARCHITECTURE)
        _add_metadata(writer, checkpoint, file_type)
        divisors = add_scaling(writer, config)
        if divisors is not None:
            writer.add_tensor(TABLE, divisors)
        for name, stored in gguf_names(config).items():
            tensor = to_interleaved(name, checkpoint.tensors[name], config)
            finest = GGMLQuantizationType.Q8_0 if name in classifier and kind == "q4_0" else wanted
            actual = storage_type(tensor.shape, finest)
            if actual is not finest and tensor.ndim == 2:
                kept.append(stored)
            writer.add_tensor(stored, _pack(stored, tensor, actual), raw_dtype=actual)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    return kept


def storage_type(shape: Sequence[int], wanted: GGMLQuantizationType) -> GGMLQuantizationType:
    """The type in which a tensor is stored when `wanted` is the type of the matrices."""
    if len(shape) == 1:
        return GGMLQuantizationType.F32
    block, _ = GGML_QUANT_SIZES[wanted]
    return wanted if shape[-1] % block == 0 else GGMLQuantizationType.F16


def _add_metadata(writer: GGUFWriter, checkpoint: Checkpoint, file_type: LlamaFileType) -> None:
    config = checkpoint.config
    writer.add_type("model")
    writer.add_name(checkpoint.name)
    writer.add_file_type(file_type)
    writer.add_quantization_version(GGML_QUANT_VERSION)
    _add_dimensions(writer, config)
    write_vocabulary(writer, checkpoint.vocabulary, config)


def _add_dimensions(writer: GGUFWriter, config: ModelConfig) -> None:
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(config.max_seq_len)
    writer.add_embedding_length(config.dim)
    writer.add_block_count(config.n_layers)
    writer.add_feed_forward_length(config.hidden_dim)
    writer.add_head_count(config.n_heads)
    writer.add_head_count_kv(config.n_kv_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope_theta)
    writer.add_layer_norm_rms_eps(config.norm_eps)


def _pack(name: str, tensor: Array, kind: GGMLQuantizationType) -> npt.NDArray[np.generic]:
    with np.errstate(all="ignore"):  # told below, by name
        packed: npt.NDArray[np.generic] = quantize(np.ascontiguousarray(tensor), kind)
    largest = float(np.abs(tensor).max())
    limit = _LARGEST.get(kind, math.inf)
    if largest > limit:
        raise LlgenError(
            f"tensor '{name}' holds {largest:.6g}; {kind.name} reaches {limit:.6g}", "export it with --type f32"
        )
    return packed


_F16_LARGEST = float(np.finfo(np.float16).max)
_LARGEST = {
    GGMLQuantizationType.F16: _F16_LARGEST,
    GGMLQuantizationType.Q8_0: 127 * _F16_LARGEST,
    GGMLQuantizationType.Q4_0: 8 * _F16_LARGEST,
}
"""The largest number that each type can store. A block's scale, 1/127 or 1/8 of its largest number, is F16."""
