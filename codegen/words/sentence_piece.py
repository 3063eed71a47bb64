"""The box of SentencePiece: what its pieces ask of the code that splits and joins text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..model.sentence_piece import SentencePiece
from ..pack.sentence_piece_tables import SentencePieceTables
from .decisions import Decisions
from .lists import number_rows
from .tokenizer import starts_silently
from .tokens import start_name


@dataclass(frozen=True)
class Pieces:
    """Fields of the tokenizer's template."""

    unknown_id: int
    lists_bytes: bool
    """Pieces of bytes do not follow one another."""
    has_byte_base: bool
    """They do."""
    byte_base: int
    byte_rows: Sequence[str]
    has_divided: bool
    """Some pieces are divided again, when text was merged to them."""
    divided: int
    divided_rows: Sequence[str]
    part_end_rows: Sequence[str]
    parts: int
    part_rows: Sequence[str]
    add_dummy_prefix: bool
    remove_extra_whitespaces: bool
    words_split: bool
    strip_test: str
    """The condition in C that the first space of a `token` may be dropped."""
    keeps_second_space: bool
    """Of several leading spaces only one is dropped."""
    started_test: str
    """The condition in C that the text of a conversation `s` has been begun."""


def sentence_piece(decided: Decisions) -> Pieces | None:
    """Fill the box; None for a model without such a tokenizer."""
    vocabulary, tables = decided.model.vocabulary, decided.tables
    if not isinstance(vocabulary, SentencePiece) or not isinstance(tables, SentencePieceTables):
        return None
    start = start_name(decided.model.config, decided.upper)
    return Pieces(
        unknown_id=vocabulary.unknown_id,
        lists_bytes=tables.byte_ids is not None,
        has_byte_base=vocabulary.byte_base is not None,
        byte_base=vocabulary.byte_base or 0,
        byte_rows=number_rows(tables.byte_ids or ()),
        has_divided=bool(tables.divided),
        divided=len(tables.divided),
        divided_rows=number_rows(list(tables.divided)),
        part_end_rows=number_rows(tables.part_ends),
        parts=sum(map(len, tables.divided.values())),
        part_rows=number_rows([part for parts in tables.divided.values() for part in parts]),
        add_dummy_prefix=vocabulary.add_dummy_prefix,
        remove_extra_whitespaces=vocabulary.remove_extra_whitespaces,
        words_split=tables.words_split,
        strip_test=" && ".join(["token != UNKNOWN", *(f"token != {token}" for token in tables.spaced)]),
        keeps_second_space=vocabulary.add_dummy_prefix and not vocabulary.remove_extra_whitespaces,
        started_test=f"s->tokens[s->position - 1] != {start}"
        if starts_silently(decided)
        else f"s->position > 1 || s->tokens[0] != {start}",
    )
