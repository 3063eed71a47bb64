"""The box of the tokenizer: its pieces, and what callers of the generated C need to know of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..contract import literals
from ..model.byte_level import ByteLevel
from ..model.sentence_piece import SentencePiece
from ..model.vocabulary import Kind
from ..pack.tokenizer_tables import TokenizerTables
from .decisions import Decisions
from .lists import number_rows
from .tokens import start_name


@dataclass(frozen=True)
class Tokenizer:
    """Fields that both kinds of tokenizer have."""

    byte_level: bool
    """BPE of bytes; else SentencePiece."""
    has_bytes: bool
    """The text of a token may be a part of a character."""
    has_whole: bool
    """Text is cut around some pieces."""
    whole: int
    whole_rows: Sequence[str]
    pieces: int
    virtual_comment: str
    mergeable: int
    long_texts: bool
    """The texts exceed what C promises of a literal."""
    text_rows: Sequence[str]
    offset_type: str
    offset_rows: Sequence[str]
    id_type: str
    sorted_rows: Sequence[str]
    has_ranks: bool
    rank_rows: Sequence[str]
    strip_first_space: bool
    first_test: str
    """The condition in C that nothing was written before a token, by the `previous` one."""
    first_comment: str
    """The same in words, after `negative`."""


INTEGERS = {1: "uint8_t", 2: "uint16_t", 4: "int32_t"}
"""Types of the tables' entries, by their size."""


def tokenizer(decided: Decisions, tables: TokenizerTables) -> Tokenizer:
    """Fill the box."""
    vocabulary = decided.model.vocabulary
    assert vocabulary is not None
    virtual = len(tables.texts) - len(vocabulary)
    text = b"".join(tables.texts)
    silent = starts_silently(decided)
    return Tokenizer(
        byte_level=isinstance(vocabulary, ByteLevel),
        has_bytes=not isinstance(vocabulary, SentencePiece) or bool(vocabulary.byte_ids),
        has_whole=bool(tables.whole),
        whole=len(tables.whole),
        whole_rows=number_rows(tables.whole),
        pieces=len(tables.texts),
        virtual_comment=f", and {virtual} characters that only longer pieces hold" if virtual else "",
        mergeable=len(tables.mergeable),
        long_texts=len(text) >= 4095,
        text_rows=literals.string_rows(text),
        offset_type=INTEGERS[tables.offset_bytes],
        offset_rows=number_rows(tables.offsets),
        id_type=INTEGERS[tables.id_bytes],
        sorted_rows=number_rows(tables.mergeable),
        has_ranks=tables.ranks is not None,
        rank_rows=number_rows(tables.ranks or ()),
        strip_first_space=isinstance(vocabulary, SentencePiece)
        and (vocabulary.add_dummy_prefix or vocabulary.remove_extra_whitespaces),
        first_test=f"(previous < 0 || previous == {start_name(decided.model.config, decided.upper)})"
        if silent
        else "previous < 0",
        first_comment=", or the start token" if silent else "",
    )


def starts_silently(decided: Decisions) -> bool:
    """Whether the token that a conversation begins with is not text itself.

    One that is text may stand anywhere in a text; where it is the first token of all, it has not been written.
    """
    vocabulary = decided.model.vocabulary
    assert vocabulary is not None
    return vocabulary.pieces[decided.model.config.start_id].kind is Kind.CONTROL
