"""The tables by which the generated tokenizer turns text into ids: texts, their order, and when to merge."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from .vocabulary import SPACE, Kind, Vocabulary


@dataclass(frozen=True)
class TokenizerTables:
    """A vocabulary laid out for binary search; the space mark is written as ' '."""

    texts: tuple[bytes, ...]
    """By id. Empty for control and byte pieces; for the unknown piece what it decodes to. Past the vocabulary stand the
    characters that occur in pieces without being pieces themselves: text merges through them."""
    mergeable: tuple[int, ...]
    """Ids of the pieces that text becomes, and of those characters, in the order of their texts' bytes."""
    ranks: tuple[int, ...] | None
    """By id: when a piece is merged, the lowest first. None: the ids themselves are in that order."""
    words_split: bool
    """No piece holds a space behind another character, so that each word is merged by itself."""

    @property
    def offsets(self) -> tuple[int, ...]:
        """Where each text begins in all of them together, and where the last one ends."""
        ends = [0]
        for text in self.texts:
            ends.append(ends[-1] + len(text))
        return tuple(ends)

    @property
    def id_bytes(self) -> int:
        """Size of an id in the tables."""
        return 2 if len(self.texts) <= 0x10000 else 4

    @property
    def offset_bytes(self) -> int:
        return 2 if self.offsets[-1] <= 0xFFFF else 4

    @property
    def size(self) -> int:
        """Bytes that all tables take in flash."""
        ids = len(self.mergeable) + (0 if self.ranks is None else len(self.texts))
        return self.offsets[-1] + 1 + self.offset_bytes * len(self.offsets) + self.id_bytes * ids


def tabulate(vocabulary: Vocabulary) -> TokenizerTables:
    """Lay out a vocabulary."""
    # A space never reaches a piece unescaped: one that holds it is decoded, but no text becomes it.
    normal = [
        index for index, piece in enumerate(vocabulary.pieces) if piece.kind is Kind.NORMAL and " " not in piece.text
    ]
    written = [vocabulary.pieces[index].text.replace(SPACE, " ") for index in normal]
    known = set(written)
    characters = sorted({char for text in written for char in text} - known)
    texts = [_decoded(vocabulary, index) for index in range(len(vocabulary))] + [char.encode() for char in characters]
    mergeable = normal + list(range(len(vocabulary), len(texts)))
    scores = [vocabulary.pieces[index].score for index in normal]
    in_order = all(first > second for first, second in pairwise(scores))
    return TokenizerTables(
        texts=tuple(texts),
        mergeable=tuple(sorted(mergeable, key=lambda index: texts[index])),
        ranks=None if in_order else _ranks(normal, scores, len(texts)),
        words_split=not any(" " in text.lstrip(" ") for text in written),
    )


def _decoded(vocabulary: Vocabulary, index: int) -> bytes:
    piece = vocabulary.pieces[index]
    if piece.kind in (Kind.CONTROL, Kind.BYTE):
        return b""
    if piece.kind is Kind.UNKNOWN:
        return vocabulary.unknown_surface.encode()
    return piece.text.replace(SPACE, " ").encode()


def _ranks(normal: list[int], scores: list[float], count: int) -> tuple[int, ...]:
    """Equal scores share a rank: among them the leftmost pair is merged first."""
    order = {score: rank for rank, score in enumerate(sorted(set(scores), reverse=True))}
    ranks = [0] * count
    for index, score in zip(normal, scores, strict=True):
        ranks[index] = order[score]
    return tuple(ranks)
