"""The header of a llama2.c checkpoint, and the places of the tensors that follow from it.

llama2.c (github.com/karpathy/llama2.c) writes three forms, all little-endian:

    v0   no magic; 7 int32 (28 bytes); float32 tensors, two RoPE tables among them;
         a negative vocab_size says that the classifier is stored separately
    v1   magic, version, the same 7 int32, one byte "classifier is shared", zeros up to 256 bytes; float32 tensors
    v2   the header of v1 with an int32 group_size after the byte; norms in float32, then the matrices in Q8_0:
         the int8 values of a tensor, then one float32 scale for each group_size consecutive values

This module reads no weight. It converts up to 256 bytes to dimensions and back, and lists the stored tensors for given
dimensions.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass

from llgen.errors import LlgenError

from ...model.architectures import tensor_shapes
from ...model.config import ModelConfig

HEADER_BYTES = 256
"""Size of the header of v1 and v2; `parse_header` reads no more."""

NORM_EPS = 1e-5
ROPE_THETA = 10000.0
"""ROPE_THETA and NORM_EPS are constants of llama2.c's C code: no `.bin` stores them."""

_MAGIC = 0x616B3432
_LEGACY = struct.Struct("<7i")
_VERSIONED = struct.Struct("<Ii7iB")
_GROUP_SIZE = struct.Struct("<i")


@dataclass(frozen=True)
class Header:
    """A checkpoint's form and dimensions; `config` has the default BOS and EOS ids, which the file does not store."""

    version: int
    config: ModelConfig
    group_size: int | None
    """Consecutive values that share a scale; None: the matrices are float32."""

    @property
    def size(self) -> int:
        """Bytes in the file before the first tensor."""
        return _LEGACY.size if self.version == 0 else HEADER_BYTES

    @property
    def description(self) -> str:
        """The format in words."""
        weights = "float32" if self.group_size is None else f"Q8_0 in groups of {self.group_size}"
        return f"llama2.c v{self.version}, {weights}"


@dataclass(frozen=True)
class StoredTensor:
    """One tensor in the file."""

    name: str | None
    """The tensor's Hugging Face name; None for a table that is skipped."""
    shape: tuple[int, ...]
    group_size: int | None
    """Consecutive values that share a scale, as in Header; None: float32."""

    @property
    def count(self) -> int:
        """Number of values in the tensor."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the tensor in the file, scales included."""
        return 4 * self.count if self.group_size is None else self.count + 4 * (self.count // self.group_size)


# ---------------------------------------------------------------------------------------------------------- header

_READ = (
    "llgen reads Hugging Face directories (config.json, model.safetensors), GGUF files, llama2.c's .bin (v0, v1, v2) "
    "and .pt; a tokenizer.model, tokenizer.json or tokenizer.bin goes to --tokenizer"
)
"""The hint for a file of an unknown format. Such a file is read as a llama2.c checkpoint of v0, which has no magic."""


def parse_header(head: bytes, source: str) -> Header:
    """Read a header from the first HEADER_BYTES bytes of a file, or from all of a shorter file; messages name `source`.

    Raises LlgenError for an unknown version, dimensions out of range, heads that do not divide and a malformed header.
    """
    if len(head) < _LEGACY.size:
        raise LlgenError(
            f"'{source}' has {len(head)} bytes; a llama2.c checkpoint starts with a header of {_LEGACY.size}",
            f"copy or download it again if it is truncated; {_READ}",
        )
    if int.from_bytes(head[:4], "little") == _MAGIC:
        return _parse_versioned(head, source)
    *dims, vocab_size, max_seq_len = _LEGACY.unpack_from(head)
    try:
        config = _config(dims, abs(vocab_size), max_seq_len, tied=vocab_size > 0)
    except LlgenError as error:
        raise LlgenError(
            f"'{source}' seems to be no llama2.c checkpoint: it has neither the magic of v1 and v2 nor "
            f"the dimensions of v0 ({error.message})",
            _READ,
        ) from error
    return Header(0, config, None)


def _parse_versioned(head: bytes, source: str) -> Header:
    if len(head) < HEADER_BYTES:
        raise LlgenError(
            f"'{source}' is truncated: it has {len(head)} bytes, and its header alone {HEADER_BYTES}",
            "copy or download it again",
        )
    _, version, *dims, vocab_size, max_seq_len, shared = _VERSIONED.unpack_from(head)
    if version not in (1, 2):
        raise LlgenError(
            f"'{source}' is a llama2.c checkpoint of version {version}; llgen reads 0, 1 and 2",
            "export it again with llama2.c's export.py --version 1",
        )
    try:
        if shared not in (0, 1):
            raise LlgenError(f"shared_classifier is {shared}; it must be 0 or 1")
        config = _config(dims, vocab_size, max_seq_len, tied=shared == 1)
        end, group_size = _VERSIONED.size, None
        if version == 2:
            group_size = _parse_group_size(head, config)
            end += _GROUP_SIZE.size
        if any(head[end:HEADER_BYTES]):
            raise LlgenError(f"bytes {end} to {HEADER_BYTES - 1} must be zero")
    except LlgenError as error:
        raise LlgenError(
            f"'{source}' has a corrupt header: {error.message}", "copy, download or export it again"
        ) from error
    return Header(version, config, group_size)


def _config(dims: list[int], vocab_size: int, max_seq_len: int, *, tied: bool) -> ModelConfig:
    dim, hidden_dim, n_layers, n_heads, n_kv_heads = dims
    head_dim, rest = divmod(dim, n_heads) if n_heads > 0 else (0, 0)
    config = ModelConfig(
        dim=dim,
        hidden_dim=hidden_dim,
        n_layers=n_layers,
        n_heads=n_heads,
        n_kv_heads=n_kv_heads,
        head_dim=2 if rest else head_dim,  # a stand-in: values out of range are to be named before the remainder
        vocab_size=vocab_size,
        max_seq_len=max_seq_len,
        norm_eps=NORM_EPS,
        rope_theta=ROPE_THETA,
        tied=tied,
    )
    if rest:
        raise LlgenError(f"dim is {dim}, which n_heads {n_heads} does not divide")
    return config


def _parse_group_size(head: bytes, config: ModelConfig) -> int:
    (group_size,) = _GROUP_SIZE.unpack_from(head, _VERSIONED.size)
    if group_size < 1:
        raise LlgenError(f"group_size is {group_size}; it must be at least 1")
    for name, shape in tensor_shapes(config).items():
        if len(shape) == 2 and math.prod(shape) % group_size:
            raise LlgenError(f"group_size is {group_size}, which does not divide {shape[0]} x {shape[1]} of '{name}'")
    return int(group_size)


def pack_header(header: Header) -> bytes:
    """The bytes of a header; `parse_header` reads them back."""
    config = header.config
    dims = (config.dim, config.hidden_dim, config.n_layers, config.n_heads, config.n_kv_heads)
    if header.version == 0:
        return _LEGACY.pack(*dims, config.vocab_size if config.tied else -config.vocab_size, config.max_seq_len)
    packed = _VERSIONED.pack(_MAGIC, header.version, *dims, config.vocab_size, config.max_seq_len, config.tied)
    if header.group_size is not None:
        packed += _GROUP_SIZE.pack(header.group_size)
    return packed.ljust(HEADER_BYTES, b"\0")


def require_representable(config: ModelConfig, *, norm_eps_stored: bool = False) -> None:
    """Raise LlgenError for a model from which llama2.c's code would compute something else without an error."""
    hint = "export it as --format gguf or huggingface, which store it"
    if config.q_dim != config.dim:
        raise LlgenError(
            f"llama2.c stores no head_dim: it would compute dim / n_heads = {config.dim} / {config.n_heads}, "
            f"and the model has {config.head_dim}",
            hint,
        )
    if config.rope_theta != ROPE_THETA:
        raise LlgenError(f"llama2.c's code fixes rope_theta at {ROPE_THETA}; the model has {config.rope_theta}", hint)
    if config.rope_scaling is not None:
        raise LlgenError(f"llama2.c's code scales no RoPE; the model has {config.rope_scaling.kind}", hint)
    if config.norm_eps != NORM_EPS and not norm_eps_stored:
        raise LlgenError(f"llama2.c's C code fixes norm_eps at {NORM_EPS}; the model has {config.norm_eps}", hint)


# ---------------------------------------------------------------------------------------------------------- layout

_EMBEDDING = "model.embed_tokens.weight"
_ATTENTION_NORM = "input_layernorm.weight"
_FFN_NORM = "post_attention_layernorm.weight"
_FINAL_NORM = "model.norm.weight"
_CLASSIFIER = "lm_head.weight"
_ATTENTION = tuple(f"self_attn.{letter}_proj.weight" for letter in "qkvo")
_FFN = tuple(f"mlp.{name}_proj.weight" for name in ("gate", "down", "up"))  # w1, w2, w3


def stored_tensors(header: Header) -> list[StoredTensor]:
    """The tensors of a checkpoint in the order of the file, which they fill from Header.size to the last byte."""
    config = header.config
    if header.version == 0:
        before = [_EMBEDDING, *_each_layer(config, _ATTENTION_NORM, *_ATTENTION, _FFN_NORM, *_FFN), _FINAL_NORM]
        after = [] if config.tied else [_CLASSIFIER]
        cos_and_sin = StoredTensor(None, (2, config.max_seq_len, config.head_dim // 2), None)
        return [*_stored(before, header), cos_and_sin, *_stored(after, header)]
    names = [*_each_layer(config, _ATTENTION_NORM, _FFN_NORM), _FINAL_NORM, _EMBEDDING]
    names += _each_layer(config, *_ATTENTION, *_FFN)
    return _stored(names if config.tied else [*names, _CLASSIFIER], header)


def _each_layer(config: ModelConfig, *names: str) -> list[str]:
    # One kind of tensor for all layers, then the next kind.
    return [f"model.layers.{layer}.{name}" for name in names for layer in range(config.n_layers)]


def _stored(names: list[str], header: Header) -> list[StoredTensor]:
    shapes = tensor_shapes(header.config)
    return [StoredTensor(name, shapes[name], header.group_size if len(shapes[name]) == 2 else None) for name in names]
