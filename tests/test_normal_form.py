"""Normal form C against that of Hugging Face's `tokenizers`."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from tabulate_normal_form import table
from tokenizers import normalizers

from llgen.codegen.model.unicode import normal_form as module
from llgen.codegen.model.unicode.normal_form import normal_form

FORM = normal_form()
theirs = normalizers.NFC().normalize_str
EVERY = [code for code in range(0x110000) if not 0xD800 <= code < 0xE000]
LISTED = sorted({*FORM.classes, *FORM.decompositions, *(code for pair in FORM.compositions for code in pair)})
CHARS = st.one_of(
    st.sampled_from(LISTED).map(chr),
    st.sampled_from(sorted(FORM.classes)).map(chr),
    st.integers(0x1100, 0x11FF).map(chr),
    st.integers(0xAC00, 0xD7A3).map(chr),
    st.characters(exclude_categories=["Cs"]),
)


def test_the_table_is_that_of_tokenizers() -> None:
    committed = Path(module.__file__).with_name("normal_form.toml")
    assert committed.read_text(encoding="utf-8") == table()


def test_every_character_alone_and_taken_apart() -> None:
    alone = "x".join(map(chr, EVERY))
    assert FORM.compose(alone) == theirs(alone)
    apart = "x".join(unicodedata.normalize("NFD", chr(code)) for code in [*LISTED, *range(0xAC00, 0xD7A4)])
    assert FORM.compose(apart) == theirs(apart)


def test_every_pair_of_a_starter_and_a_second_character() -> None:
    firsts = sorted({first for first, _ in FORM.compositions})
    for second in sorted({second for _, second in FORM.compositions}):
        text = " ".join(f"{chr(first)}{chr(second)}" for first in firsts)
        assert FORM.compose(text) == theirs(text)


@settings(max_examples=1000)
@given(st.lists(CHARS, max_size=12).map("".join))
def test_sequences_are_composed_as_tokenizers_does(text: str) -> None:
    composed = FORM.compose(text)
    assert composed == theirs(text)
    assert FORM.compose(composed) == composed


def test_a_plain_character_begins_with_one_that_composes_with_none_before_it() -> None:
    """So normal form C may be computed from the last plain character on."""
    marks = set(map(chr, FORM.classes))
    replaced, seconds = (
        set(re.findall(each.expression, "".join(map(chr, EVERY)))) for each in (FORM.replaced, FORM.seconds)
    )
    for char in set(map(chr, FORM.decompositions)) - replaced - seconds - marks:
        first = unicodedata.normalize("NFD", char)[0]
        assert first not in seconds and first not in marks


def test_a_byte_that_is_not_utf8_stays() -> None:
    text = b"e\xcc\x81\xff\xcc\x81".decode("utf-8", "surrogateescape")
    assert FORM.compose(text) == "\xe9\udcff\u0301"
