"""From a vocabulary of either kind to its tables."""

from __future__ import annotations

from ..model.byte_level import ByteLevel
from ..model.sentence_piece import SentencePiece
from ..model.vocabulary import Vocabulary
from .byte_level_tables import byte_level_tables
from .sentence_piece_tables import sentence_piece_tables
from .tokenizer_tables import TokenizerTables


def tabulate(vocabulary: Vocabulary) -> TokenizerTables:
    """Lay out a vocabulary for the generated tokenizer."""
    if isinstance(vocabulary, ByteLevel):
        return byte_level_tables(vocabulary)
    assert isinstance(vocabulary, SentencePiece)
    return sentence_piece_tables(vocabulary)
