"""What a file says reaches a terminal escaped and short; notices reach who listens."""

from __future__ import annotations

import doctest
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llgen import notices, shown
from llgen.notices import gathered, notice

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@pytest.mark.parametrize("module", [shown, notices])
def test_examples_are_true(module: Any) -> None:
    assert doctest.testmod(module).failed == 0


@given(st.text(), st.integers(1, 100))
def test_a_text_of_a_file_is_printable_and_short(text: str, longest: int) -> None:
    said = shown.shown(text, longest)
    assert said.isprintable() or not said
    assert len(said) <= 2 * longest + 30
    if text.isprintable() and "\\" not in text and len(text) <= longest:
        assert said == text


@given(_JSON)
def test_a_value_of_a_file_is_printable_and_short(value: Any) -> None:
    said = shown.shown_value(value)
    assert said.isprintable()
    assert len(said) <= 2 * shown.LONGEST + 30


def test_values_beyond_reason_are_abridged() -> None:
    nested: Any = []
    for _ in range(100_000):
        nested = [nested]
    assert shown.shown_value(nested) == "[[[[...]]]]"
    assert len(shown.shown_value({"k" * 10_000: ["v" * 10_000] * 10_000})) <= 200
    assert shown.shown("x" * 1_700_000) == "x" * 80 + "… (1,700,000 characters)"
    assert len(shown.shown_value(10**4000)) <= 200
    while nested:  # so that freeing it recurses nowhere
        nested = nested[0]


def test_two_texts_are_never_shown_alike() -> None:
    assert shown.shown("a\nb") != shown.shown("a\\nb")


@given(st.text())
def test_a_whole_message_keeps_its_lines_and_loses_what_a_terminal_obeys(text: str) -> None:
    assert all(char in "\n\t" or char.isprintable() for char in shown.printable(text))


def test_each_notice_is_heard_once_by_every_listener() -> None:
    with gathered() as outer:
        notice("first 100%")
        with gathered() as inner:
            notice("second")
            notice("second")
    assert outer == ["first 100%", "second"]
    assert inner == ["second"]
