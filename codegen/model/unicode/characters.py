"""Sets of characters, and the sets that patterns name by a property of Unicode 16.0."""

from __future__ import annotations

import operator
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import accumulate

LAST = 0x10FFFF


@dataclass(frozen=True)
class CharSet:
    """Characters, as ranges of code points: the first one in, and the first one out, in ascending order."""

    ranges: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, ranges: Iterable[tuple[int, int]]) -> CharSet:
        """The set of all ranges; they may overlap and stand in any order."""
        merged: list[tuple[int, int]] = []
        for start, stop in sorted(each for each in ranges if each[0] < each[1]):
            if merged and start <= merged[-1][1]:
                merged[-1] = merged[-1][0], max(stop, merged[-1][1])
            else:
                merged.append((start, stop))
        return cls(tuple(merged))

    @classmethod
    def from_text(cls, text: str) -> CharSet:
        """The characters of a text."""
        return cls.of((ord(char), ord(char) + 1) for char in text)

    def __contains__(self, char: str) -> bool:
        return any(start <= ord(char) < stop for start, stop in self.ranges)

    def __or__(self, other: CharSet) -> CharSet:
        return CharSet.of(self.ranges + other.ranges)

    def __and__(self, other: CharSet) -> CharSet:
        return ~(~self | ~other)

    def __invert__(self) -> CharSet:
        edges = [0, *(edge for both in self.ranges for edge in both), LAST + 1]
        return CharSet.of(zip(edges[::2], edges[1::2], strict=True))

    def __bool__(self) -> bool:
        return bool(self.ranges)

    def isdisjoint(self, other: CharSet) -> bool:
        """Whether no character is in both sets."""
        return not self & other

    @property
    def expression(self) -> str:
        """A class of Python's regular expressions for these characters."""
        return "[" + "".join(f"\\U{start:08x}-\\U{stop - 1:08x}" for start, stop in self.ranges) + "]"


ANY = CharSet(((0, LAST + 1),))


@cache
def by_property(name: str) -> CharSet:
    """The characters of a general category such as `Lu`, of a group of them such as `L`, or `White_Space`.

    Raises KeyError for a name that is not in the table.
    """
    found = [ranges for category, ranges in _table().items() if category == name or category[:1] == name]
    if not found:
        raise KeyError(name)
    return CharSet.of(each for ranges in found for each in ranges)


@cache
def _table() -> Mapping[str, tuple[tuple[int, int], ...]]:
    text = (files(__package__) / "categories.toml").read_text(encoding="utf-8")
    return {name: tuple(map(_range, ranges.split())) for name, ranges in tomllib.loads(text).items()}


def _range(text: str) -> tuple[int, int]:
    first, _, last = text.partition("-")
    return int(first, 16), int(last or first, 16) + 1


def classes(sets: Iterable[CharSet]) -> tuple[tuple[int, int], ...]:
    """Divide all characters into the largest parts that each set holds wholly or not at all.

    Returns (first code point, bits): bit i says that the characters from there to the next entry are in set i.
    """
    toggled = {0: 0}
    for index, each in enumerate(sets):
        for edge in (edge for both in each.ranges for edge in both if edge <= LAST):
            toggled[edge] = toggled.get(edge, 0) ^ 1 << index
    edges = sorted(toggled)
    bits = accumulate((toggled[edge] for edge in edges), operator.xor)
    return tuple((edge, found) for edge, found in zip(edges, bits, strict=True) if edge == 0 or toggled[edge])
