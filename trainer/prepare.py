"""Everything before the first iteration: documents, the tokenizer made for them, their tokens on disk."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from llgen.codegen.vocabulary import Vocabulary

from .config import TrainConfig
from .corpus import stories
from .corpus.words import NAMES
from .data import Source, TokenizedData, is_tokenized, open_tokenized, tokenize
from .progress import Reporter
from .tokenizer import SAMPLE_CHARACTERS, kept_tokenizer, train_tokenizer, write_tokenizer

TOKENIZER, TOKENS = "tokenizer.model", "tokens"
_NAMES_WEIGHT = 2_000
"""Copies of the names in the tokenizer's text: so many that each becomes one piece, which a small model can repeat."""
_TOKENIZER_STORIES = 3_000
"""The built-in corpus uses all its words in so many stories."""


@dataclass(frozen=True)
class Prepared:
    """What a run trains on."""

    vocabulary: Vocabulary
    data: TokenizedData


def prepare(config: TrainConfig, directory: Path, reporter: Reporter) -> None:
    """Put the run's tokenizer and tokens into its directory; what is there already, from the same text, is kept.

    Raises LlgenError when the text is missing, not readable, or too short for the vocabulary or for one sequence.
    """
    source = None if config.data.source is None else Path(config.data.source)
    directory.mkdir(parents=True, exist_ok=True)
    if source is not None and is_tokenized(source):
        vocabulary = Vocabulary.from_file(_given_tokenizer(config) or source / TOKENIZER)
        open_tokenized(source).require(config.model.max_seq_len, vocabulary)
        _keep(vocabulary, directory)
        return
    text = None if source is None else Source(source, config.data.field, config.data.separator)
    vocabulary = _vocabulary(config, directory, text, reporter)
    reporter.stage(f"tokenising {source}" if source else f"making up {config.data.stories:,} stories")
    data = tokenize(
        _made_up(config) if text is None else text,
        vocabulary,
        directory / TOKENS,
        held_out=config.data.held_out,
        key=_made_up_key(config),
    )
    data.require(config.model.max_seq_len, vocabulary)


def prepared(config: TrainConfig, directory: Path) -> Prepared:
    """What `prepare` put into a run's directory."""
    source = config.data.source
    tokens = Path(source) if source is not None and is_tokenized(Path(source)) else directory / TOKENS
    return Prepared(Vocabulary.from_file(directory / TOKENIZER), open_tokenized(tokens))


def _made_up(config: TrainConfig) -> Iterable[str]:
    return islice(stories(config.seed), config.data.stories)


def _made_up_key(config: TrainConfig) -> str:
    return f"{config.data.stories} made-up stories, seed {config.seed}"


def _given_tokenizer(config: TrainConfig) -> Path | None:
    if config.data.tokenizer is not None:
        return Path(config.data.tokenizer)
    return None if config.start.model is None else Path(config.start.model) / TOKENIZER


def _vocabulary(config: TrainConfig, directory: Path, text: Source | None, reporter: Reporter) -> Vocabulary:
    """The tokenizer that was named, or one trained on the text, in the run's directory."""
    given = _given_tokenizer(config)
    if given is not None:
        return _keep(Vocabulary.from_file(given), directory)
    pieces = config.model.vocab_size

    def make() -> Vocabulary:
        reporter.stage(f"training a tokenizer of {pieces:,} pieces")
        if text is not None:
            return train_tokenizer(text.sample(SAMPLE_CHARACTERS), pieces)
        few = islice(_made_up(config), _TOKENIZER_STORIES)
        return train_tokenizer([*few, *[" ".join(NAMES)] * _NAMES_WEIGHT], pieces)

    origin = _made_up_key(config) if text is None else text.fingerprint()
    return kept_tokenizer(directory / TOKENIZER, f"{origin} {pieces}", make)


def _keep(vocabulary: Vocabulary, directory: Path) -> Vocabulary:
    write_tokenizer(vocabulary, directory / TOKENIZER)
    return vocabulary
