"""Builders of llama2.c files: an independent, plain writer that the readers are tested against."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest

from llgen.codegen.model.vocabulary import Kind, Piece

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class TinyLlama2c:
    """A random llama2.c checkpoint, and what a reader must make of it."""

    data: bytes
    tensors: dict[str, Array]
    """By Hugging Face name, in Hugging Face's row order."""


# dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size, max_seq_len
DIMS = (8, 12, 2, 2, 1, 270, 6)


def build_llama2c(
    version: int = 0, tied: bool = True, group_size: int = 4, dims: tuple[int, ...] = DIMS, seed: int = 0
) -> TinyLlama2c:
    """Make a checkpoint file of random weights; `group_size` counts for version 2 only."""
    rng = np.random.default_rng(seed)
    dim, hidden, layers, heads, kv_heads, vocab, positions = dims
    kv_dim = dim // heads * kv_heads
    chunks: dict[str, bytes] = {}
    tensors: dict[str, Array] = {}

    def add(key: str, name: str, *shape: int) -> None:
        values = rng.standard_normal(shape).astype(np.float32)
        raw = values.tobytes()
        if version == 2 and len(shape) == 2:
            integers = rng.integers(-127, 128, (values.size // group_size, group_size), dtype=np.int8)
            scales = rng.random((len(integers), 1), dtype=np.float32)
            values = (integers.astype(np.float32) * scales).reshape(shape)
            raw = integers.tobytes() + scales.tobytes()
        chunks[key] = chunks.get(key, b"") + raw
        tensors[name] = _half_split(values, dim // heads) if key in ("wq", "wk") else values

    add("embedding", "model.embed_tokens.weight", vocab, dim)
    for layer in range(layers):
        prefix = f"model.layers.{layer}."
        add("attention_norm", prefix + "input_layernorm.weight", dim)
        add("wq", prefix + "self_attn.q_proj.weight", dim, dim)
        add("wk", prefix + "self_attn.k_proj.weight", kv_dim, dim)
        add("wv", prefix + "self_attn.v_proj.weight", kv_dim, dim)
        add("wo", prefix + "self_attn.o_proj.weight", dim, dim)
        add("ffn_norm", prefix + "post_attention_layernorm.weight", dim)
        add("w1", prefix + "mlp.gate_proj.weight", hidden, dim)
        add("w2", prefix + "mlp.down_proj.weight", dim, hidden)
        add("w3", prefix + "mlp.up_proj.weight", hidden, dim)
    add("final_norm", "model.norm.weight", dim)
    if not tied:
        add("classifier", "lm_head.weight", vocab, dim)

    if version == 0:
        # Not numbers: the RoPE tables are to be skipped, not read.
        chunks["rope"] = np.full((2, positions, dim // heads // 2), np.nan, np.float32).tobytes()
        order = "embedding attention_norm wq wk wv wo ffn_norm w1 w2 w3 final_norm rope classifier"
        header = struct.pack("<7i", *dims[:5], vocab if tied else -vocab, positions)
    else:
        order = "attention_norm ffn_norm final_norm embedding wq wk wv wo w1 w2 w3 classifier"
        header = b"24ka" + struct.pack("<8iB", version, *dims, tied)
        header += struct.pack("<i", group_size) if version == 2 else b""
        header = header.ljust(256, b"\0")
    return TinyLlama2c(header + b"".join(chunks.get(key, b"") for key in order.split()), tensors)


def _half_split(rows: Array, head_dim: int) -> Array:
    """Put row 2i of each head at i, and row 2i + 1 at i + head_dim / 2."""
    out = np.empty_like(rows)
    for head in range(0, len(rows), head_dim):
        for i in range(head_dim // 2):
            out[head + i] = rows[head + 2 * i]
            out[head + i + head_dim // 2] = rows[head + 2 * i + 1]
    return out


def export_tokenizer_bin(pieces: tuple[Piece, ...]) -> bytes:
    """Write pieces as llama2.c's exporter does."""
    texts = []
    for piece in pieces:
        printed = piece.kind is Kind.CONTROL and piece.text in ("<s>", "</s>")
        texts.append((f"\n{piece.text}\n" if printed else piece.text.replace("▁", " ")).encode())
    data = struct.pack("<i", max(map(len, texts)))
    for piece, text in zip(pieces, texts, strict=True):
        data += struct.pack("<fi", piece.score, len(text)) + text
    return data


def make_pieces() -> tuple[Piece, ...]:
    """As many pieces as DIMS has: special ones, bytes, and a few of text."""
    special = [Piece("<unk>", 0.0, Kind.UNKNOWN), Piece("<s>", 0.0, Kind.CONTROL), Piece("</s>", 0.0, Kind.CONTROL)]
    byte_pieces = [Piece(f"<0x{byte:02X}>", 0.0, Kind.BYTE) for byte in range(256)]
    texts = ["▁t", "he", "▁the", "▁", "t", "h", "e", "\n", "▁▁", "é", "<0xZZ>"]
    return (*special, *byte_pieces, *(Piece(text, -float(i), Kind.NORMAL) for i, text in enumerate(texts)))


@pytest.fixture(scope="session")
def llama2c() -> Callable[..., TinyLlama2c]:
    return build_llama2c


@pytest.fixture(scope="session")
def tokenizer_bin() -> Callable[[tuple[Piece, ...]], bytes]:
    return export_tokenizer_bin


@pytest.fixture(scope="session")
def pieces() -> tuple[Piece, ...]:
    return make_pieces()
