"""Byte-level BPE in Python against Hugging Face's `tokenizers`, and in the generated C against Python."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from byte_level import KINDS, LINES, saved, trained
from generated import Library
from hypothesis import given, settings
from hypothesis import strategies as st
from models import ODD, random_checkpoint
from tokenizers import Tokenizer

from llgen.codegen.model.byte_level import ByteLevel

FRAGMENTS = [
    *("the", " the", "fox", "isn't", "'S", "'ll", "'ſ", "a", "_", "...", "!?", "\ufffd", "\x00", "\x7f"),
    *(" ", "  ", "    ", "\n", "\n\n", "\r\n", "\t", "\xa0", "\u3000", "\x85"),
    *("1", "12", "½", "Ⅷ", "٣", "é", "ß", "İ", "中文", "の", "नमस्ते", "привет", "שלום", "ا", "😀", "👩‍👩‍👧", "\u0301"),
    *("<think>", "<think>x", "naïve☕", "<|im_start|>", "<|im_end|>"),
]
TEXTS = st.one_of(
    st.lists(st.sampled_from(FRAGMENTS), max_size=16).map("".join),
    st.text(max_size=30),
    st.lists(st.sampled_from(LINES), min_size=1, max_size=2).map("".join),
)
CASES = [*((kind, True) for kind in KINDS), ("smollm", False)]


class Case:
    """One tokenizer in three hands."""

    def __init__(self, kind: str, every_byte: bool, folder: Path) -> None:
        self.theirs: Tokenizer = trained(kind, every_byte=every_byte)
        self.ours: ByteLevel = saved(self.theirs, folder)
        config = replace(ODD, vocab_size=len(self.ours), bos_id=None)
        self.library = Library(random_checkpoint(config, vocabulary=self.ours), folder)

    def ids(self, text: str) -> list[int]:
        return list(self.theirs.encode(text, add_special_tokens=False).ids)


@pytest.fixture(scope="module", params=CASES, ids=lambda case: f"{case[0]}{'' if case[1] else ', fewer bytes'}")
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    return Case(*request.param, tmp_path_factory.mktemp("bytes"))


def has_every_byte(case: Case, text: str) -> bool:
    return all(case.ours.byte_ids[byte] >= 0 for byte in text.encode())


@settings(max_examples=400)
@given(TEXTS)
def test_ids_are_those_of_tokenizers(case: Case, text: str) -> None:
    if has_every_byte(case, text):
        assert case.ours.encode(text) == case.ids(text)


@settings(max_examples=300)
@given(st.one_of(TEXTS.map(str.encode), st.binary(max_size=30), st.tuples(TEXTS, st.binary(max_size=4))))
def test_the_generated_c_gives_the_same_ids(case: Case, text: bytes | tuple[str, bytes]) -> None:
    data = text if isinstance(text, bytes) else text[0].encode() + text[1]
    assert case.library.encode(data) == case.ours.encode(data)


@pytest.mark.parametrize("text", [b"", b" ", b"a" * 5000, b"thefox" * 4000, b" " * 3001, b"\xff" * 70, b"ab\xe2\x96"])
def test_ids_at_the_edges(case: Case, text: bytes) -> None:
    assert case.library.encode(text) == case.ours.encode(text)


@settings(max_examples=200)
@given(TEXTS.map(str.encode), st.integers(0, 12))
def test_too_little_room_is_said_and_nothing_is_written_beyond(case: Case, text: bytes, room: int) -> None:
    full = case.library.encode(text, capacity=len(text) + len(text) // 32 + 2)
    assert full == case.ours.encode(text)
    assert case.library.encode(text, capacity=room) in (full, -4)


@settings(max_examples=300)
@given(st.data())
def test_written_text_is_that_of_tokenizers(case: Case, data: st.DataObject) -> None:
    ids = data.draw(st.lists(st.integers(0, len(case.ours) - 1), max_size=12))
    written = b"".join(case.library.write(ids)).decode()
    assert written == case.ours.decode(ids) == case.theirs.decode(ids, skip_special_tokens=True)


@settings(max_examples=300)
@given(st.binary(max_size=40))
def test_all_bytes_come_back(case: Case, data: bytes) -> None:
    back = b"".join(case.ours.texts[index] for index in case.ours.encode(data))
    assert back == bytes(byte for byte in data if case.ours.byte_ids[byte] >= 0)
