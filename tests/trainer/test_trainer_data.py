"""Documents, tokenizer, dataset and batches, and what they refuse."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llgen.codegen.errors import LlgenError
from llgen.codegen.vocabulary import Kind, Vocabulary
from llgen.trainer.data import (
    Batches,
    Dataset,
    build_dataset,
    made_up_documents,
    pack,
    read_dataset,
    read_documents,
    split_documents,
    write_dataset,
)
from llgen.trainer.tokenizer import train_tokenizer

DOCUMENTS = made_up_documents(seed=3, count=200)
VOCABULARY = train_tokenizer(DOCUMENTS, 400)


# -------------------------------------------------------------------------------------------------------- documents


def test_blank_lines_part_documents() -> None:
    assert split_documents("one\ntwo\n\n \n\nthree\n") == ["one\ntwo", "three"]


def test_a_separator_line_leaves_blank_lines_alone() -> None:
    assert split_documents("one\n\ntwo\n<|endoftext|>\nthree\n<|endoftext|>\n") == ["one\n\ntwo", "three"]


def test_a_folder_is_its_text_files_in_order(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("second", encoding="utf-8")
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbffirst\r\nline")
    (tmp_path / "notes.md").write_text("not this", encoding="utf-8")
    assert read_documents(tmp_path) == ["first\nline", "second"]


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LlgenError, match=r"holds no \.txt file"):
        read_documents(tmp_path)
    with pytest.raises(LlgenError, match=r"cannot read .*: No such file"):
        read_documents(tmp_path / "missing.txt")
    (tmp_path / "empty.txt").write_text(" \n\n", encoding="utf-8")
    with pytest.raises(LlgenError, match="holds no text"):
        read_documents(tmp_path / "empty.txt")
    (tmp_path / "latin.txt").write_bytes("caf\u00e9".encode("latin-1"))
    with pytest.raises(LlgenError, match="is not UTF-8: byte 0xE9 at offset 3"):
        read_documents(tmp_path / "latin.txt")


# -------------------------------------------------------------------------------------------------------- tokenizer


def test_tokenizer_is_the_llama_kind() -> None:
    assert len(VOCABULARY) == 400
    assert (VOCABULARY.unknown_id, VOCABULARY.bos_id, VOCABULARY.eos_id, VOCABULARY.byte_base) == (0, 1, 2, 3)
    assert VOCABULARY.add_dummy_prefix
    assert not VOCABULARY.remove_extra_whitespaces
    assert all("\n" not in piece.text for piece in VOCABULARY.pieces if piece.kind is Kind.NORMAL)


def test_tokenizer_is_deterministic() -> None:
    assert train_tokenizer(DOCUMENTS, 400).proto == VOCABULARY.proto


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(exclude_characters="\0▁", exclude_categories=["Cs"])))
def test_every_text_survives(text: str) -> None:
    assert VOCABULARY.decode(VOCABULARY.encode(text)) == text


def test_rare_characters_do_not_crowd_out_the_rest() -> None:
    many = "".join(chr(0x4E00 + index) for index in range(2000))
    vocabulary = train_tokenizer([*DOCUMENTS, many], 400)
    assert vocabulary.decode(vocabulary.encode(many)) == many
    assert sum(len(piece.text) > 1 for piece in vocabulary.pieces if piece.kind is Kind.NORMAL) > 40


def test_long_lines_are_learned_from() -> None:
    vocabulary = train_tokenizer(["ab cd ef gh " * 1000], 275)
    assert len(vocabulary.encode("ab")) == 1


@pytest.mark.parametrize(
    ("texts", "size", "message"),
    [
        ([], 512, "no text to train a tokenizer on"),
        (["\n \n"], 512, "no text to train a tokenizer on"),
        (["abc"], 512, "too small for a vocabulary of 512 pieces: it yields at most 26"),
        (["abc abc"], 100, "a vocabulary of 100 pieces is too small"),
    ],
)
def test_tokenizer_refuses(texts: list[str], size: int, message: str) -> None:
    with pytest.raises(LlgenError, match=message):
        train_tokenizer(texts, size)


# ---------------------------------------------------------------------------------------------------------- dataset


def test_bos_stands_before_every_document() -> None:
    tokens = pack(["a cat", "a dog"], VOCABULARY)
    assert tokens.dtype == np.uint16
    assert tokens.tolist() == [1, *VOCABULARY.encode("a cat"), 1, *VOCABULARY.encode("a dog")]


def test_every_twentieth_document_is_held_out() -> None:
    dataset = build_dataset(DOCUMENTS, VOCABULARY, 64)
    assert dataset.held_out.tolist() == pack(DOCUMENTS[19::20], VOCABULARY).tolist()
    assert np.count_nonzero(dataset.train == 1) == 190


def test_one_long_document_lends_its_end() -> None:
    text = " ".join(DOCUMENTS[:30]).replace("\n", " ")
    dataset = build_dataset([text], VOCABULARY, 64)
    assert 0.05 < len(dataset.held_out) / len(dataset.train) < 0.2


def test_too_little_text_is_refused() -> None:
    with pytest.raises(LlgenError, match="tokens to train on; one sequence takes 257"):
        build_dataset(["a cat"], VOCABULARY, 256)
    with pytest.raises(LlgenError, match="tokens held out for evaluation; one sequence takes 513"):
        build_dataset([DOCUMENTS[0] * 5], VOCABULARY, 512)


def test_dataset_file_round_trip(tmp_path: Path) -> None:
    dataset = Dataset(np.arange(9, dtype=np.uint16), np.arange(5, dtype=np.uint16))
    write_dataset(dataset, tmp_path / "tokens.npz")
    back = read_dataset(tmp_path / "tokens.npz")
    assert back.train.tolist() == dataset.train.tolist()
    assert back.held_out.tolist() == dataset.held_out.tolist()
    (tmp_path / "tokens.npz").write_bytes(b"PK damaged")
    with pytest.raises(LlgenError, match="does not hold a run's tokens"):
        read_dataset(tmp_path / "tokens.npz")


# ---------------------------------------------------------------------------------------------------------- batches


def test_targets_follow_inputs() -> None:
    inputs, targets = Batches(np.arange(100, dtype=np.uint16), seed=1).draw(4, 10)
    assert inputs.shape == targets.shape == (4, 10)
    assert torch.equal(inputs + 1, targets)


def test_the_last_window_can_be_drawn() -> None:
    batches = Batches(np.arange(11, dtype=np.uint16), seed=1)
    assert batches.draw(2, 10)[1][:, -1].tolist() == [10, 10]


def test_state_continues_the_sequence() -> None:
    tokens = np.arange(1000, dtype=np.uint16)
    first = Batches(tokens, seed=1)
    first.draw(4, 10)
    second = Batches(tokens, seed=99)
    second.state = first.state
    for _ in range(3):
        assert torch.equal(first.draw(4, 10)[0], second.draw(4, 10)[0])


def test_vocabulary_proto_is_read_back() -> None:
    assert Vocabulary.from_proto(VOCABULARY.proto) == VOCABULARY
