"""llama.cpp itself on exported files; skipped where `llama-cpp-python`, which takes long to compile, is absent."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from interleaved import reference_logits
from models import random_checkpoint, trained_vocabulary
from texts import random_texts

from llgen.codegen.formats.detect import read_any
from llgen.codegen.formats.gguf.read import read_gguf
from llgen.codegen.formats.gguf.write import write_gguf
from llgen.codegen.model.checkpoint import Checkpoint
from llgen.codegen.model.config import ModelConfig
from llgen.codegen.model.rope import LinearScaling, Llama3Scaling, RopeScaling, TableScaling, YarnScaling
from llgen.codegen.model.sentence_piece import SentencePiece

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


SCALINGS: dict[str, RopeScaling] = {
    "linear": LinearScaling(2.5),
    "llama3": Llama3Scaling(8.0, low_freq_factor=0.75, high_freq_factor=3.0, original_max_position_embeddings=14),
    "yarn": YarnScaling(4.0, 8, YarnScaling.usual_attention_factor(4.0)),
    "yarn, another attention factor": YarnScaling(4.0, 300, 0.9),
    "yarn, all set": YarnScaling(3.0, 12, 0.9, beta_fast=1.5, beta_slow=0.5, truncate=False),
    "table": TableScaling(tuple(1.0 + pair / 3 for pair in range(16)), 1.25),
}


@pytest.mark.parametrize("scaling", SCALINGS.values(), ids=SCALINGS)
def test_computes_the_same_logits_with_a_scaled_rotation(scaling: RopeScaling, tmp_path: Path) -> None:
    checkpoint = random_checkpoint(replace(WIDE, rope_scaling=scaling))
    write_gguf(checkpoint, tmp_path / "model.gguf", "f32")
    tokens = [(7 * position) % WIDE.vocab_size for position in range(WIDE.max_seq_len)]
    theirs, ours = logits(tmp_path / "model.gguf", tokens), reference_logits(checkpoint, tokens)
    assert (np.abs(theirs - ours).max(axis=1) <= 1e-4 * np.ptp(ours, axis=1)).all()
    plain = reference_logits(replace(checkpoint, config=WIDE), tokens)
    assert np.abs(ours - plain).max() > 1e-2 * np.ptp(plain)


TEXTS = random_texts(10_000)
VOCABULARIES: dict[str, dict[str, bool]] = {
    "folds spaces": {},
    "folds spaces without prefix": {"add_dummy_prefix": False},
    "keeps spaces": {"remove_extra_whitespaces": False},
    "keeps spaces without prefix": {"add_dummy_prefix": False, "remove_extra_whitespaces": False},
}


def is_folded(text: str) -> bool:
    """Whether a tokenizer that folds spaces changes a text before it cuts it to pieces."""
    return text != " ".join(word for word in text.split(" ") if word) or text.endswith("▁")


@pytest.mark.parametrize("name", [*VOCABULARIES, "stories260K/tok512", "stories3M/tok4096"])
def test_ids_of_ten_thousand_texts_are_sentencepieces_but_for_folded_spaces(
    name: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if name in VOCABULARIES:
        vocabulary = trained_vocabulary(**VOCABULARIES[name])
    else:
        vocabulary = SentencePiece.from_file(request.getfixturevalue("shared") / "models" / f"{name}.model")
    config = replace(WIDE, vocab_size=len(vocabulary))
    write_gguf(random_checkpoint(config, vocabulary=vocabulary), tmp_path / "model.gguf", "f32")
    model = llama_cpp.Llama(str(tmp_path / "model.gguf"), vocab_only=True, verbose=False)
    unfolded = [text for text in TEXTS if not (vocabulary.remove_extra_whitespaces and is_folded(text))]
    assert len(unfolded) > 3000
    for text in unfolded:
        assert model.tokenize(text.encode()) == [1, *vocabulary.encode(text)], repr(text)
    if vocabulary.remove_extra_whitespaces:
        assert model.tokenize(b"a  b") != [1, *vocabulary.encode("a  b")]


def test_it_stops_at_every_token_that_ends_a_text(tmp_path: Path) -> None:
    vocabulary = trained_vocabulary()
    config = replace(WIDE, vocab_size=len(vocabulary), end_ids=(2, 7, 1))
    write_gguf(random_checkpoint(config, vocabulary=vocabulary), tmp_path / "model.gguf", "f32")
    model = llama_cpp.Llama(str(tmp_path / "model.gguf"), vocab_only=True, verbose=False)
    known = llama_cpp.llama_model_get_vocab(model.model)
    assert [token for token in range(20) if llama_cpp.llama_vocab_is_eog(known, token)] == [1, 2, 7]
