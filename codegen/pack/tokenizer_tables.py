"""What the tables of both kinds of tokenizer have in common: the texts of pieces, their order, and when they merge."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass


@dataclass(frozen=True)
class TokenizerTables(ABC):
    """The pieces of a vocabulary, laid out for binary search."""

    texts: tuple[bytes, ...]
    """By id: the text that a piece decodes to or merges as; empty for control pieces. Past the vocabulary may stand
    texts that merge and are no pieces."""
    mergeable: tuple[int, ...]
    """Ids of the pieces that text merges to, in the order of their texts' bytes."""
    ranks: tuple[int, ...] | None
    """By id: when a piece is merged, the lowest first. None: the ids themselves are in that order."""
    whole: tuple[int, ...]
    """User-defined pieces, the longest first: text that holds one is cut around it."""

    @property
    def offsets(self) -> tuple[int, ...]:
        """Where each text begins in all of them together, and where the last one ends."""
        ends = [0]
        for text in self.texts:
            ends.append(ends[-1] + len(text))
        return tuple(ends)

    @property
    def piece_bytes(self) -> int:
        """Length of the longest text of a piece, and no less than that of U+FFFD."""
        return max(3, *(len(text) for text in self.texts))

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
        ids = len(self.mergeable) + len(self.whole) + (0 if self.ranks is None else len(self.texts))
        texts = self.offsets[-1] + 1 + self.offset_bytes * len(self.offsets)
        return texts + self.id_bytes * ids + self.own_bytes

    @property
    @abstractmethod
    def own_bytes(self) -> int:
        """Bytes of the tables that only one kind of tokenizer has."""
