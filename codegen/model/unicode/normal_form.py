"""Normal form C: characters are taken apart, marks are put in their canonical order, and pairs are composed.

The method is that of Unicode Standard Annex #15, with the data of Unicode 9.0, which Hugging Face's `tokenizers` 0.23
uses. Characters that later versions added are left as they are.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files

from .characters import CharSet

_SYLLABLES, _LEADS, _VOWELS, _TRAILS = 0xAC00, 0x1100, 0x1161, 0x11A7
_VOWEL_COUNT, _TRAIL_COUNT, _SYLLABLE_COUNT = 21, 28, 11172
_HANGUL_SECONDS = CharSet(((_VOWELS, _VOWELS + _VOWEL_COUNT), (_TRAILS + 1, _TRAILS + _TRAIL_COUNT)))


@dataclass(frozen=True)
class NormalForm:
    """The data of normal form C, by code points. Hangul syllables are computed."""

    classes: Mapping[int, int]
    """Canonical combining classes; a character that is not listed has class 0."""
    compositions: Mapping[tuple[int, int], int]
    """What pairs of characters compose to."""
    decompositions: Mapping[int, tuple[int, ...]]
    """One or two characters that another one stands for; the first of two may stand for others in turn."""

    @cached_property
    def replaced(self) -> CharSet:
        """The characters that no text in normal form C contains."""
        composed = set(self.compositions.values())
        return CharSet.of((code, code + 1) for code in self.decompositions if code not in composed)

    @cached_property
    def seconds(self) -> CharSet:
        """The characters that may compose with one before them."""
        return CharSet.of((second, second + 1) for _, second in self.compositions) | _HANGUL_SECONDS

    @cached_property
    def _stretch(self) -> re.Pattern[str]:
        """What normal form C may change: characters that are not plain, and the one before them."""
        marks = CharSet.of((code, code + 1) for code in self.classes)
        others = self.replaced | self.seconds | marks
        return re.compile(f"{(~others).expression}?{others.expression}+")

    def compose(self, text: str) -> str:
        """Return the text in normal form C."""
        return self._stretch.sub(lambda found: self._composed(found[0]), text)

    def _composed(self, text: str) -> str:
        found: list[int] = []
        starter, last = -1, 0  # the place of the last starter, and the class of the character after it that stays
        for code in self._in_order(part for char in text for part in self._taken_apart(ord(char))):
            value = self.classes.get(code, 0)
            blocked = starter < len(found) - 1 and last >= value
            whole = None if starter < 0 or blocked else self._pair(found[starter], code)
            if whole is not None:
                found[starter] = whole
                continue
            if value == 0:
                starter = len(found)
            found.append(code)
            last = value
        return "".join(map(chr, found))

    def _in_order(self, codes: Iterable[int]) -> Iterator[int]:
        """Sort the marks between two starters by their classes; marks of one class keep their order."""
        marks: list[int] = []
        for code in codes:
            if code in self.classes:
                marks.append(code)
                continue
            yield from sorted(marks, key=self.classes.__getitem__)
            marks.clear()
            yield code
        yield from sorted(marks, key=self.classes.__getitem__)

    def _taken_apart(self, code: int) -> Iterator[int]:
        syllable = code - _SYLLABLES
        if 0 <= syllable < _SYLLABLE_COUNT:
            pair, trail = divmod(syllable, _TRAIL_COUNT)
            yield _LEADS + pair // _VOWEL_COUNT
            yield _VOWELS + pair % _VOWEL_COUNT
            if trail:
                yield _TRAILS + trail
            return
        for part in self.decompositions.get(code, ()):
            yield from self._taken_apart(part)
        if code not in self.decompositions:
            yield code

    def _pair(self, first: int, second: int) -> int | None:
        lead, vowel = first - _LEADS, second - _VOWELS
        if 0 <= vowel < _VOWEL_COUNT and 0 <= lead < _SYLLABLE_COUNT // _TRAIL_COUNT // _VOWEL_COUNT:
            return _SYLLABLES + (lead * _VOWEL_COUNT + vowel) * _TRAIL_COUNT
        syllable, trail = first - _SYLLABLES, second - _TRAILS
        if 0 < trail < _TRAIL_COUNT and 0 <= syllable < _SYLLABLE_COUNT and syllable % _TRAIL_COUNT == 0:
            return first + trail
        return self.compositions.get((first, second))


@cache
def normal_form() -> NormalForm:
    """The data of Unicode 9.0."""
    table = tomllib.loads((files(__package__) / "normal_form.toml").read_text(encoding="utf-8"))
    classes = {code: int(value) for value, ranges in table["classes"].items() for code in _codes(ranges)}
    pairs = [
        (*_numbers(pair, ":"), int(second, 16)) for second, text in table["composed"].items() for pair in text.split()
    ]
    entries = [entry.split(":") for text in table["decomposed"].values() for entry in text.split()]
    decompositions = {whole: (first, second) for first, whole, second in pairs}
    return NormalForm(
        classes=classes,
        compositions={parts: whole for whole, parts in decompositions.items()},
        decompositions=decompositions | {int(code, 16): _numbers(parts, "+") for code, parts in entries},
    )


def _codes(ranges: str) -> Iterator[int]:
    for text in ranges.split():
        first, *last = _numbers(text, "-")
        yield from range(first, (last or [first])[0] + 1)


def _numbers(text: str, separator: str) -> tuple[int, ...]:
    return tuple(int(number, 16) for number in text.split(separator))
