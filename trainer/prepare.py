"""Everything before the first iteration: documents, the tokenizer made for them, their tokens on disk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from llgen.codegen.errors import LlgenError
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

    Raises LlgenError when the text is missing, not readable, or too short for the vocabulary or for one sequence, and
    when the tokenizer has another number of pieces than the model.
    """
    source = None if config.data.source is None else Path(config.data.source)
    if source is not None and is_tokenized(source):
        vocabulary = _read_tokenizer(given_tokenizer(config) or source / TOKENIZER, config)
        open_tokenized(source).require(config.model.max_seq_len, vocabulary)
        write_tokenizer(vocabulary, directory / TOKENIZER)
        return
    text = None if source is None else Source(source, config.data.field, config.data.separator)
    vocabulary = _vocabulary(config, directory, text, reporter)
    if text is not None:
        reporter.stage(f"tokenising {text.path}")
    data = tokenize(
        _told(config, reporter) if text is None else text,
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
    return islice(stories(config.seed, config.data.names), config.data.stories)


def _told(config: TrainConfig, reporter: Reporter) -> Iterator[str]:
    """The same, announced when the first is asked for: not where their tokens are there already."""
    reporter.stage(f"making up {config.data.stories:,} stories")
    yield from _made_up(config)


def _made_up_key(config: TrainConfig) -> str:
    data = config.data
    return f"{data.stories} made-up stories, seed {config.seed}, {data.names} names of a kind"


def given_tokenizer(config: TrainConfig) -> Path | None:
    """The tokenizer that was named, or else that of the model to start from, or of the teacher."""
    if config.data.tokenizer is not None:
        return Path(config.data.tokenizer)
    model = config.start.model or config.start.teacher
    return None if model is None else Path(model) / TOKENIZER


def _read_tokenizer(path: Path, config: TrainConfig) -> Vocabulary:
    vocabulary = Vocabulary.from_file(path)
    if len(vocabulary) != config.model.vocab_size:
        raise LlgenError(
            f"the tokenizer '{path}' has {len(vocabulary)} pieces; model.vocab_size is {config.model.vocab_size}",
            f"--set model.vocab_size={len(vocabulary)}",
        )
    return vocabulary


def _vocabulary(config: TrainConfig, directory: Path, text: Source | None, reporter: Reporter) -> Vocabulary:
    """The tokenizer that was named, or one trained on the text, in the run's directory."""
    given = given_tokenizer(config)
    if given is not None:
        vocabulary = _read_tokenizer(given, config)
        write_tokenizer(vocabulary, directory / TOKENIZER)
        return vocabulary
    pieces = config.model.vocab_size

    def make() -> Vocabulary:
        reporter.stage(f"training a tokenizer of {pieces:,} pieces")
        if text is not None:
            return train_tokenizer(text.sample(SAMPLE_CHARACTERS), pieces)
        few = islice(_made_up(config), _TOKENIZER_STORIES)
        return train_tokenizer([*few, *[" ".join(NAMES)] * _NAMES_WEIGHT], pieces)

    origin = _made_up_key(config) if text is None else text.fingerprint()
    return kept_tokenizer(directory / TOKENIZER, f"{origin} {pieces}", make)
