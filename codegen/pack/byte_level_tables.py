"""The tables by which generated C does what byte-level BPE does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, pairwise

from ..model.byte_level import ByteLevel
from ..model.unicode.characters import CharSet, classes
from ..model.vocabulary import Kind
from ..model.word_pattern import RunUpTo, WordPattern
from .tokenizer_tables import TokenizerTables


@dataclass(frozen=True)
class CharacterClasses:
    """The classes into which the sets of a word pattern divide all characters."""

    sets: tuple[CharSet, ...]
    starts: tuple[tuple[int, int], ...]
    """The first code point of each range of characters, and the number of its class."""
    members: tuple[int, ...]
    """For each set, the classes in it: bit i stands for class i."""

    @property
    def ascii(self) -> tuple[int, ...]:
        """The class of each character of ASCII."""
        found = dict(self.starts)
        held: list[int] = []
        for char in range(128):
            held.append(found.get(char, held[-1] if held else 0))
        return tuple(held)


@dataclass(frozen=True)
class ByteLevelTables(TokenizerTables):
    """A vocabulary, and the classes of characters by which text is divided into words."""

    lefts: tuple[int, ...]
    """By id: the bytes of the left one of the two parts from which a piece arises; 0 where no merge makes it."""
    missing_bytes: bool
    """Some byte has no token."""
    classes: CharacterClasses

    @property
    def left_bytes(self) -> int:
        """Size of an entry of `lefts`."""
        return 1 if max(self.lefts) <= 0xFF else 2

    @property
    def own_bytes(self) -> int:
        return self.left_bytes * len(self.lefts) + 128 + 4 * len(self.classes.starts)


def byte_level_tables(vocabulary: ByteLevel) -> ByteLevelTables:
    """Lay out a vocabulary."""
    texts, origins = vocabulary.texts, vocabulary.origins
    lefts = [0] * len(texts)
    for piece, (left, _) in origins.items():
        lefts[piece] = len(texts[left])
    whole = [index for index, piece in enumerate(vocabulary.pieces) if piece.kind is Kind.USER_DEFINED]
    return ByteLevelTables(
        texts=texts,
        mergeable=tuple(sorted(vocabulary.ids.values(), key=lambda index: texts[index])),
        ranks=_ranks(list(origins), len(texts)),
        whole=tuple(sorted(whole, key=lambda index: (-len(texts[index]), index))),
        lefts=tuple(lefts),
        missing_bytes=-1 in vocabulary.byte_ids,
        classes=character_classes(vocabulary.pattern),
    )


def _ranks(order: Sequence[int], count: int) -> tuple[int, ...] | None:
    """The place of each piece in the order in which pieces arise; None when the ids are in this order."""
    if all(before < after for before, after in pairwise(order)):
        return None
    ranks = [0] * count
    for rank, piece in enumerate(order):
        ranks[piece] = rank
    return tuple(ranks)


def character_classes(pattern: WordPattern) -> CharacterClasses:
    """The classes of characters that a pattern tells apart."""
    elements = list(chain.from_iterable(rule.elements for rules in pattern.stages for rule in rules))
    sets = dict.fromkeys(element.chars for element in elements)
    sets |= dict.fromkeys(element.last for element in elements if isinstance(element, RunUpTo))
    entries = classes(sets)
    numbers = {bits: number for number, bits in enumerate(dict.fromkeys(bits for _, bits in entries))}
    return CharacterClasses(
        sets=tuple(sets),
        starts=tuple((start, numbers[bits]) for start, bits in entries),
        members=tuple(
            sum(1 << number for bits, number in numbers.items() if bits >> index & 1) for index in range(len(sets))
        ),
    )
