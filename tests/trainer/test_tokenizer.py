"""Training a tokenizer: like Llama's, the same every time, and lossless."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llgen.codegen.model.sentence_piece import SentencePiece
from llgen.codegen.model.vocabulary import Kind
from llgen.errors import LlgenError
from llgen.trainer.corpus import stories
from llgen.trainer.tokenizer import kept_tokenizer, train_tokenizer

DOCUMENTS = list(islice(stories(3), 200))
VOCABULARY = train_tokenizer(DOCUMENTS, 400)


def test_tokenizer_is_the_llama_kind() -> None:
    assert len(VOCABULARY) == 400
    assert (VOCABULARY.unknown_id, VOCABULARY.bos_id, VOCABULARY.eos_id, VOCABULARY.byte_base) == (0, 1, 2, 3)
    assert VOCABULARY.add_dummy_prefix
    assert not VOCABULARY.remove_extra_whitespaces
    assert all("\n" not in piece.text for piece in VOCABULARY.pieces if piece.kind is Kind.NORMAL)


def test_tokenizer_is_deterministic() -> None:
    assert train_tokenizer(DOCUMENTS, 400).proto == VOCABULARY.proto


@settings(max_examples=200)
@given(st.text(st.characters(exclude_characters="\0▁", exclude_categories=["Cs"])))
def test_every_text_survives(text: str) -> None:
    assert VOCABULARY.decode(VOCABULARY.encode(text)) == text


def test_rare_characters_do_not_crowd_out_the_rest() -> None:
    many = "".join(chr(0x4E00 + index) for index in range(2000))
    vocabulary = train_tokenizer([*DOCUMENTS, many], 400)
    assert vocabulary.decode(vocabulary.encode(many)) == many
    assert sum(len(piece.text) > 1 for piece in vocabulary.pieces if piece.kind is Kind.NORMAL) > 40


def test_lines_with_a_bar_of_a_text_chart_are_learned_from() -> None:
    """SentencePiece 0.2.3 drops every line that holds U+2585, however short (trainer_interface.cc: reserved)."""
    texts = ["the cat sat on the mat and saw a bird\n" * 50, "sales \u2582\u2585\u2587 zigzag\n" * 50]
    vocabulary = train_tokenizer(texts, 310)
    assert "z" in {piece.text for piece in vocabulary.pieces}
    text = "sales \u2582\u2585\u2587 zigzag"
    assert vocabulary.decode(vocabulary.encode(text)) == text


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


def test_vocabulary_proto_is_read_back() -> None:
    assert SentencePiece.from_proto(VOCABULARY.proto) == VOCABULARY


def test_a_tokenizer_is_kept_until_what_it_was_made_from_changes(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.model"
    made: list[int] = []

    def make() -> SentencePiece:
        made.append(1)
        return VOCABULARY

    assert kept_tokenizer(path, "a", make) == kept_tokenizer(path, "a", make) == VOCABULARY
    assert len(made) == 1
    kept_tokenizer(path, "b", make)
    assert len(made) == 2
    path.write_bytes(b"changed by hand")
    assert kept_tokenizer(path, "b", make) == VOCABULARY
    assert (len(made), path.read_bytes()) == (3, VOCABULARY.proto)
