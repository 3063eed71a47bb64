"""llama.cpp itself on exported files; skipped where `llama-cpp-python`, which takes long to compile, is absent."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from interleaved import reference_logits
from models import random_checkpoint

from llgen.codegen.checkpoint import Checkpoint
from llgen.codegen.config import ModelConfig
from llgen.codegen.formats.detect import read_any
from llgen.codegen.formats.gguf_read import read_gguf
from llgen.codegen.formats.gguf_write import write_gguf

llama_cpp = pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed")

TEXT = "Once upon a time there was a little girl who loved to play"
# Grouped heads that are wider than dim / n_heads, an own classifier, and a RoPE base that is nobody's default.
WIDE = ModelConfig(
    dim=64, hidden_dim=96, n_layers=2, n_heads=6, n_kv_heads=2, head_dim=32, vocab_size=50, max_seq_len=32,
    norm_eps=1e-6, rope_theta=5000.0, tied=False,
)  # fmt: skip


def logits(path: Path, tokens: list[int]) -> npt.NDArray[np.float32]:
    model = llama_cpp.Llama(
        str(path), n_ctx=len(tokens), logits_all=True, verbose=False, n_threads=1,
        type_k=llama_cpp.GGML_TYPE_F32, type_v=llama_cpp.GGML_TYPE_F32,
    )  # fmt: skip
    model.eval(tokens)
    return np.array(model.scores[: len(tokens)])


@pytest.fixture(scope="module")
def stories(shared: Path) -> Checkpoint:
    folder = shared / "models" / "stories260K"
    return read_any(folder / "stories260K.bin", folder / "tok512.model")


def test_computes_the_same_logits(stories: Checkpoint, tmp_path: Path) -> None:
    assert stories.vocabulary is not None
    tokens = [1, *stories.vocabulary.encode(TEXT)]
    write_gguf(stories, tmp_path / "model.gguf", "f32")
    np.testing.assert_allclose(logits(tmp_path / "model.gguf", tokens), reference_logits(stories, tokens), atol=5e-5)


@pytest.mark.parametrize(("kind", "tolerance"), [("f16", 0.02), ("q8_0", 0.3)])
def test_reads_smaller_types_as_we_do(stories: Checkpoint, kind: str, tolerance: float, tmp_path: Path) -> None:
    assert stories.vocabulary is not None
    tokens = [1, *stories.vocabulary.encode(TEXT)]
    write_gguf(stories, tmp_path / "model.gguf", kind)
    ours = reference_logits(read_gguf(tmp_path / "model.gguf", None), tokens)
    theirs = logits(tmp_path / "model.gguf", tokens)  # which rounds activations to the type as well
    np.testing.assert_allclose(theirs, ours, atol=tolerance)
    np.testing.assert_array_equal(theirs.argmax(axis=1), ours.argmax(axis=1))


def test_reads_q4_0_as_we_do(tmp_path: Path) -> None:
    checkpoint = random_checkpoint(replace(WIDE, vocab_size=64, n_kv_heads=6))
    write_gguf(checkpoint, tmp_path / "model.gguf", "q4_0")
    tokens = [1, 7, 49, 0, 12]
    ours = reference_logits(read_gguf(tmp_path / "model.gguf", None), tokens)
    theirs = logits(tmp_path / "model.gguf", tokens)
    assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.999


def test_computes_the_same_logits_of_odd_shapes(tmp_path: Path) -> None:
    for config in (WIDE, replace(WIDE, tied=True, n_kv_heads=6)):
        checkpoint = random_checkpoint(config)
        write_gguf(checkpoint, tmp_path / "model.gguf", "f32")
        tokens = [1, 7, 49, 0, 12]
        np.testing.assert_allclose(
            logits(tmp_path / "model.gguf", tokens), reference_logits(checkpoint, tokens), atol=1e-4
        )


@pytest.mark.parametrize("text", [TEXT, "Käse, 中文 😀!\n", "a\tb"])
def test_encodes_as_the_tokenizer_does(stories: Checkpoint, text: str, tmp_path: Path) -> None:
    assert stories.vocabulary is not None
    write_gguf(stories, tmp_path / "model.gguf", "f32")
    model = llama_cpp.Llama(str(tmp_path / "model.gguf"), vocab_only=True, verbose=False)
    assert model.tokenize(text.encode()) == [1, *stories.vocabulary.encode(text)]
