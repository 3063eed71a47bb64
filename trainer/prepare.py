"""Everything before the first iteration: documents, the tokenizer made for them, their tokens."""

from __future__ import annotations

from pathlib import Path

from llgen.codegen.vocabulary import Vocabulary

from .corpus.words import NAMES
from .data import Dataset, build_dataset, made_up_documents, read_documents
from .progress import Reporter
from .tokenizer import train_tokenizer

_NAMES_WEIGHT = 2_000
"""Copies of the names in the tokenizer's text: so many that each becomes one piece, which a small model can repeat."""
_TOKENIZER_STORIES = 3_000
"""The built-in corpus uses all its words in so many stories."""


def prepare(
    data: Path | None, vocab_size: int, sequence_length: int, reporter: Reporter, *, stories: int, seed: int
) -> tuple[Vocabulary, Dataset]:
    """A tokenizer and a dataset from the user's text, or from `stories` made-up ones when `data` is None.

    Raises LlgenError when the text is missing, not UTF-8, or too short for the vocabulary or for one sequence.
    """
    if data is None:
        reporter.stage(f"making up {stories:,} stories")
        documents = made_up_documents(seed, stories)
        sample = documents[:_TOKENIZER_STORIES] + [" ".join(NAMES)] * _NAMES_WEIGHT
    else:
        reporter.stage(f"reading {data}")
        documents = sample = read_documents(data)
    reporter.stage(f"training a tokenizer of {vocab_size:,} pieces")
    vocabulary = train_tokenizer(sample, vocab_size)
    return vocabulary, build_dataset(documents, vocabulary, sequence_length)
