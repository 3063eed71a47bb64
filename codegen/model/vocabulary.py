"""A tokenizer as data: the pieces of text that have ids, and the tokens that begin and end a text.

`sentence_piece.py` and `byte_level.py` hold the two kinds that exist. The other stages see a `Vocabulary`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import Self


class Kind(IntEnum):
    """Types of pieces, with the values of SentencePiece's protocol buffer."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    """No text is encoded as it, and it decodes to nothing."""
    USER_DEFINED = 4
    """Text that contains it is cut around it; it is never merged with other text."""
    UNUSED = 5
    """Text is merged to it and then divided again into the parts it was merged from. It decodes to itself."""
    BYTE = 6


@dataclass(frozen=True)
class Piece:
    text: str
    score: float
    kind: Kind


@dataclass(frozen=True)
class Vocabulary(ABC):
    """The pieces of a tokenizer in the order of their ids; encoding and decoding by it."""

    pieces: tuple[Piece, ...]
    unknown_id: int
    """The piece that stands for text without a piece; -1 when there is none. The same for the next two."""
    bos_id: int
    eos_id: int

    def __len__(self) -> int:
        return len(self.pieces)

    @property
    @abstractmethod
    def identity(self) -> bytes:
        """Bytes that are equal for equal tokenizers only."""

    @abstractmethod
    def encode(self, text: str | bytes) -> list[int]:
        """The ids of a text, without BOS."""

    @abstractmethod
    def encode_all(self, texts: Sequence[str], threads: int = 1) -> list[list[int]]:
        """The ids of several texts, computed by at most `threads` threads."""

    @abstractmethod
    def decode(self, ids: list[int]) -> str:
        """The text of ids."""

    @abstractmethod
    def with_pieces(self, more: Sequence[Piece]) -> Self:
        """The same tokenizer with more pieces after its own.

        Raises LlgenError when the tokenizer already has one of the pieces.
        """

    def padded(self, rows: int) -> Self:
        """The same tokenizer, padded to a total number of pieces."""
        taken = {piece.text for piece in self.pieces}
        return self.with_pieces([padding_piece(index, taken) for index in range(len(self), rows)])

    @cached_property
    def padding(self) -> tuple[int, ...]:
        """Ids of padding, which only rounds up a matrix's size; recognised by the names that llama.cpp's tools use."""
        return tuple(
            index
            for index, piece in enumerate(self.pieces)
            if piece.kind is Kind.UNUSED and piece.text.rstrip("'") == f"[PAD{index}]"
        )


def padding_piece(index: int, taken: Collection[str]) -> Piece:
    """The padding piece of row `index`. If another piece has its name, apostrophes are added to the name."""
    name = f"[PAD{index}]"
    while name in taken:
        name += "'"
    return Piece(name, 0.0, Kind.UNUSED)
