"""The tables by which generated C does what SentencePiece does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from ..model.sentence_piece import SPACE, SentencePiece
from ..model.unused_pieces import divisions
from ..model.vocabulary import Kind
from .tokenizer_tables import TokenizerTables


@dataclass(frozen=True)
class SentencePieceTables(TokenizerTables):
    """A vocabulary whose space mark is written as ' '. Past its pieces stand the characters that occur in pieces
    without being pieces themselves: text merges through them."""

    words_split: bool
    """No piece has a space after another character, so that each word is merged by itself."""
    divided: Mapping[int, tuple[int, ...]]
    """Unused pieces that text merges to, and the ids that each of them is divided into again."""
    spaced: tuple[int, ...]
    """Pieces that begin with a space itself and not with its mark: decoding keeps it, also in front of a text."""
    byte_ids: tuple[int, ...] | None
    """The id of each byte, the unknown one where there is none; None: they follow one another."""

    @property
    def part_ends(self) -> tuple[int, ...]:
        """Where the ids of each divided piece end in all of them together."""
        ends, end = [], 0
        for parts in self.divided.values():
            end += len(parts)
            ends.append(end)
        return tuple(ends)

    @property
    def own_bytes(self) -> int:
        ids = len(self.byte_ids or ()) + 2 * len(self.divided) + sum(map(len, self.divided.values()))
        return self.id_bytes * ids


def sentence_piece_tables(vocabulary: SentencePiece) -> SentencePieceTables:
    """Lay out a vocabulary."""
    # A space never reaches a piece unescaped: one that holds it is decoded, but no text becomes it.
    written = {
        index: piece.text.replace(SPACE, " ")
        for index, piece in enumerate(vocabulary.pieces)
        if piece.kind in (Kind.NORMAL, Kind.UNUSED, Kind.USER_DEFINED) and " " not in piece.text
    }
    whole = {index for index in written if vocabulary.pieces[index].kind is Kind.USER_DEFINED}
    merged, divided = _merged(vocabulary, {index: text for index, text in written.items() if index not in whole})
    known = set(merged.values())
    characters = sorted({char for text in known for char in text} - known)
    texts = [_decoded(vocabulary, index) for index in range(len(vocabulary))] + [char.encode() for char in characters]
    mergeable = [*merged, *range(len(vocabulary), len(texts))]
    by_text = {texts[index].decode(): index for index in mergeable}
    scores = [vocabulary.pieces[index].score for index in merged]
    in_order = all(first > second for first, second in pairwise(scores))
    listed = vocabulary.byte_ids if vocabulary.byte_base is None else ()
    return SentencePieceTables(
        texts=tuple(texts),
        mergeable=tuple(sorted(mergeable, key=lambda index: texts[index])),
        ranks=None if in_order else _ranks(list(merged), scores, len(texts)),
        words_split=not any(" " in written[index].lstrip(" ") for index in (*merged, *whole)),
        whole=tuple(sorted(whole, key=lambda index: (-len(written[index]), index))),
        divided={index: tuple(by_text[part] for part in parts) for index, parts in divided.items()},
        spaced=tuple(
            index
            for index, piece in enumerate(vocabulary.pieces)
            if piece.text.startswith(" ") and index != vocabulary.unknown_id and texts[index]
        ),
        byte_ids=tuple(vocabulary.unknown_id if index < 0 else index for index in listed) or None,
    )


def _merged(vocabulary: SentencePiece, written: Mapping[int, str]) -> tuple[dict[int, str], dict[int, tuple[str, ...]]]:
    """Of normal and unused pieces those that text is merged to; and what the unused ones among them become again."""
    ids = {text: index for index, text in written.items() if vocabulary.pieces[index].kind is Kind.UNUSED}
    parts = divisions(ids, {text: vocabulary.pieces[index].score for index, text in written.items()})
    merged = {index: text for index, text in written.items() if text not in ids or text in parts}
    return merged, {ids[text]: found for text, found in parts.items()}


def _decoded(vocabulary: SentencePiece, index: int) -> bytes:
    piece = vocabulary.pieces[index]
    if piece.kind in (Kind.CONTROL, Kind.BYTE):
        return b""
    if piece.kind is Kind.UNKNOWN:
        return vocabulary.unknown_surface.encode()
    return piece.text.replace(SPACE, " ").encode()


def _ranks(merged: Sequence[int], scores: Sequence[float], count: int) -> tuple[int, ...]:
    """Equal scores share a rank: among them the leftmost pair is merged first."""
    order = {score: rank for rank, score in enumerate(sorted(set(scores), reverse=True))}
    ranks = [0] * count
    for index, score in zip(merged, scores, strict=True):
        ranks[index] = order[score]
    return tuple(ranks)
