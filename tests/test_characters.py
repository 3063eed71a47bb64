"""Sets of characters, and Unicode's table of them against the regular expressions of `tokenizers`."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Regex, pre_tokenizers

from llgen.codegen.model.unicode.characters import ANY, LAST, CharSet, by_property, classes

SETS = st.lists(st.tuples(st.integers(0, LAST), st.integers(0, LAST + 1)), max_size=5).map(CharSet.of)


def held(chars: CharSet) -> set[int]:
    return {code for start, stop in chars.ranges for code in range(start, stop)}


NAMES = [*("L", "M", "N", "P", "S", "White_Space"), *("Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Nd", "Nl", "No")]


@pytest.mark.parametrize("name", NAMES)
def test_a_property_holds_the_characters_that_tokenizers_finds(name: str) -> None:
    """At both sides of every edge, and at each 97th character."""
    ours = by_property(name)
    edges = {edge + step for both in ours.ranges for edge in both for step in (-1, 0)}
    sample = [code for code in sorted(edges | {*range(0, LAST, 97)}) if not 0xD800 <= code < 0xE000 and code <= LAST]
    expression = r"\s" if name == "White_Space" else rf"\p{{{name}}}"
    removed = pre_tokenizers.Split(Regex(f"(?:{expression})+"), "removed")
    others = "".join(word for word, _ in removed.pre_tokenize_str("".join(map(chr, sample))))
    assert held(ours) & {*sample} == {*sample} - {*map(ord, others)}


def test_an_unknown_property_is_an_error() -> None:
    with pytest.raises(KeyError):
        by_property("Latin")


@given(SETS, SETS)
def test_sets_are_those_of_python(a: CharSet, b: CharSet) -> None:
    sample = {edge + step for each in (a, b) for both in each.ranges for edge in both for step in (-1, 0, 1)}
    for code in sample & set(range(LAST + 1)):
        char = chr(code)
        assert (char in (a | b)) == (char in a or char in b)
        assert (char in (a & b)) == (char in a and char in b)
        assert (char in ~a) == (char not in a)
        assert bool(re.fullmatch(a.expression, char)) == (char in a) if a else True
    assert ~~a == a
    assert a.isdisjoint(~a)
    assert (a | ~a) == ANY


@given(st.lists(SETS, max_size=4))
def test_classes_divide_all_characters(sets: list[CharSet]) -> None:
    found = classes(sets)
    assert found[0][0] == 0
    assert all(before[1] != after[1] for before, after in pairwise(found))
    for start, bits in found:
        assert [bool(bits >> index & 1) for index in range(len(sets))] == [chr(start) in each for each in sets]
