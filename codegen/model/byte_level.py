"""A byte-level BPE tokenizer as data: its pieces, the order of merges, and how a text is divided into words.

Byte-pair encoding (Sennrich, Haddow and Birch, 2016, arXiv:1508.07909) of the bytes of UTF-8, as in GPT-2 (Radford et
al., 2019). Hugging Face's `tokenizers` is the reference for the ids of a text.

- The bytes of a word are merged by the list of merges, the first of them first, then the leftmost pair.
- A byte without a piece has no token, and text is not merged across it.
- A byte that is not part of UTF-8 divides words like a symbol, and has the token of its byte.
- Text becomes no control piece. A user-defined piece is found in the text before it is divided; of several that begin
  at one place, the longest one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from heapq import heapify, heappop, heappush

from llgen.errors import LlgenError
from llgen.shown import shown

from .merge_order import Pair, origins
from .vocabulary import Kind, Piece, Vocabulary
from .word_pattern import WordPattern

_CACHED_WORDS = 1 << 17


@dataclass(frozen=True)
class ByteLevel(Vocabulary):
    """The pieces of a tokenizer in the order of their ids, and how text becomes them.

    A normal piece's text names its bytes by the characters of `BYTE_CHARS`; other pieces stand for themselves.
    """

    merges: tuple[tuple[int, int], ...] = field(repr=False)
    """Pairs of pieces that merge, the first ones first; the piece that they make has their text."""
    pattern: WordPattern
    whole_words: bool
    """A word that is a piece is not merged from parts."""

    @cached_property
    def identity(self) -> bytes:
        """Everything that decides the ids of a text."""
        facts = [
            [(piece.text, int(piece.kind)) for piece in self.pieces],
            self.merges,
            self.pattern.sources,
            self.whole_words,
        ]
        return json.dumps(facts, ensure_ascii=False).encode("utf-8", "surrogatepass")

    @cached_property
    def texts(self) -> tuple[bytes, ...]:
        """The bytes that each piece decodes to; empty for control pieces and padding."""
        return tuple(map(_decoded, self.pieces))

    @cached_property
    def ids(self) -> Mapping[bytes, int]:
        """The normal piece of each text."""
        return {self.texts[index]: index for index, piece in enumerate(self.pieces) if piece.kind is Kind.NORMAL}

    @cached_property
    def byte_ids(self) -> tuple[int, ...]:
        """The piece of each of the 256 bytes, or -1."""
        return tuple(self.ids.get(bytes([byte]), -1) for byte in range(256))

    @cached_property
    def _merged(self) -> Mapping[tuple[int, int], tuple[int, int]]:
        """For each pair that merges its place in the list, and the piece that it becomes."""
        return {
            pair: (rank, self.ids[self.texts[pair[0]] + self.texts[pair[1]]])
            for rank, pair in reversed(list(enumerate(self.merges)))
        }

    @cached_property
    def origins(self) -> Mapping[int, Pair]:
        """The parts of each piece that arises by a merge, in the order in which pieces arise."""
        return origins(self.merges, [self._merged[pair][1] for pair in self.merges], "the tokenizer")

    def encode(self, text: str | bytes) -> list[int]:
        if isinstance(text, bytes):
            text = text.decode("utf-8", "surrogateescape")
        found: list[int] = []
        for part in self._parts(text):
            if isinstance(part, int):
                found.append(part)
                continue
            for word in self.pattern.words(part):
                found += self._word(word.encode("utf-8", "surrogateescape"))
        return found

    def encode_all(self, texts: Sequence[str], threads: int = 1) -> list[list[int]]:
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(self.encode, texts))

    def decode(self, ids: list[int]) -> str:
        return b"".join(self.texts[index] for index in ids).decode("utf-8", "replace")

    def with_pieces(self, more: Sequence[Piece]) -> ByteLevel:
        taken = {piece.text for piece in self.pieces}
        for piece in more:
            if piece.text in taken:
                raise LlgenError(f"the tokenizer already has the piece '{shown(piece.text)}'", "name it otherwise")
            taken.add(piece.text)
        return replace(self, pieces=(*self.pieces, *more))

    def _parts(self, text: str) -> Iterator[str | int]:
        """The text between user-defined pieces, and the ids of these."""
        if self._whole is None:
            yield text
            return
        for index, part in enumerate(self._whole[0].split(text)):
            if index % 2:
                yield self._whole[1][part]
            elif part:
                yield part

    @cached_property
    def _whole(self) -> tuple[re.Pattern[str], Mapping[str, int]] | None:
        """An expression for the user-defined pieces, and their ids."""
        ids = {piece.text: index for index, piece in enumerate(self.pieces) if piece.kind is Kind.USER_DEFINED}
        longest_first = "|".join(map(re.escape, sorted(ids, key=lambda text: (-len(text), text))))
        return (re.compile(f"({longest_first})"), ids) if ids else None

    @cached_property
    def _word(self):  # type: ignore[no-untyped-def]
        """Return the ids of a word; words come again and again."""

        @lru_cache(maxsize=_CACHED_WORDS)
        def ids(word: bytes) -> tuple[int, ...]:
            if self.whole_words and word in self.ids:
                return (self.ids[word],)
            return tuple(self._merge(word))

        return ids

    def _merge(self, word: bytes) -> list[int]:
        """The ids of a word's bytes after all merges."""
        symbols = [self.byte_ids[byte] for byte in word]  # -1 where there is none, or where a merge took it
        before, after = list(range(-1, len(word) - 1)), list(range(1, len(word) + 1))

        def offer(left: int) -> list[tuple[int, int, tuple[int, int], int]]:
            """The merge of the symbol at a place with the one after it, if there is one."""
            if left < 0 or after[left] == len(word):
                return []
            pair = symbols[left], symbols[after[left]]
            return [(rank, left, pair, piece) for rank, piece in [self._merged[pair]]] if pair in self._merged else []

        queue = [each for place in range(len(word)) for each in offer(place)]
        heapify(queue)
        while queue:
            _, left, pair, piece = heappop(queue)
            right = after[left]
            if right == len(word) or (symbols[left], symbols[right]) != pair:
                continue  # another merge came first
            symbols[left], symbols[right] = piece, -1
            after[left] = after[right]
            if after[right] < len(word):
                before[after[right]] = left
            for each in (*offer(before[left]), *offer(left)):
                heappush(queue, each)
        return [symbol for symbol in symbols if symbol >= 0]


def _byte_chars() -> str:
    """The characters by which tokenizers name the 256 bytes: those of Latin-1 that print, then the next from U+0100."""
    printed = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = iter(range(0x100, 0x200))
    return "".join(chr(byte if byte in printed else next(others)) for byte in range(256))


BYTE_CHARS = _byte_chars()
"""The character that names each byte in a normal piece: `A` for 0x41, `Ġ` for a space."""
_BYTES = {char: byte for byte, char in enumerate(BYTE_CHARS)}


def bytes_of(name: str) -> bytes | None:
    """The bytes that a normal piece's text names; None when it holds a character that names none."""
    return bytes(_BYTES[char] for char in name) if _BYTES.keys() >= set(name) else None


def _decoded(piece: Piece) -> bytes:
    if piece.kind is Kind.NORMAL:
        found = bytes_of(piece.text)
        assert found is not None, piece
        return found
    return piece.text.encode() if piece.kind is Kind.USER_DEFINED else b""
