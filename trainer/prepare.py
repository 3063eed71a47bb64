"""Preparing a run before its first iteration: reading documents, training a tokenizer, writing tokens to disk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from llgen.codegen.formats.detect import read_vocabulary
from llgen.codegen.formats.hf.directory import load_checkpoint
from llgen.codegen.formats.hf.training_record import Reading
from llgen.codegen.model.sentence_piece import SentencePiece
from llgen.codegen.model.vocabulary import Vocabulary
from llgen.errors import LlgenError
from llgen.notices import gathered

from .config import TrainConfig
from .corpus import stories
from .corpus.words import NAMES
from .data import Source, TokenizedData, is_tokenized, open_tokenized, tell_of_few_documents, tokenize
from .progress import Reporter
from .tokenizer import SAMPLE_CHARACTERS, kept_tokenizer, train_tokenizer, write_tokenizer

TOKENIZER, TOKENS = "tokenizer.model", "tokens"
_NAMES_WEIGHT = 2_000
"""Copies of the names in the tokenizer's text; enough to make each name one piece, which a small model can repeat."""
_TOKENIZER_STORIES = 3_000
"""Number of made-up stories that contain all words of the built-in corpus."""


@dataclass(frozen=True)
class Prepared:
    """The tokenizer and the tokens of a run."""

    vocabulary: Vocabulary
    data: TokenizedData


def prepare(config: TrainConfig, directory: Path, reporter: Reporter) -> None:
    """Write the run's tokenizer and tokens into its directory; files made from the same text are kept.

    Raises LlgenError when the text is missing, not readable, or too short for the vocabulary or for one sequence, or
    when the tokenizer has another number of pieces than the model.
    """
    source = None if config.data.source is None else Path(config.data.source)
    if source is not None and is_tokenized(source):
        vocabulary = given_vocabulary(config) or SentencePiece.from_file(source / TOKENIZER)
        _require_fitting(vocabulary, config, source / TOKENIZER)
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
    if text is not None:
        tell_of_few_documents(text, data)
    data.require(config.model.max_seq_len, vocabulary)


def prepared(config: TrainConfig, directory: Path) -> Prepared:
    """Read what `prepare` wrote into a run's directory."""
    source = config.data.source
    tokens = Path(source) if source is not None and is_tokenized(Path(source)) else directory / TOKENS
    return Prepared(SentencePiece.from_file(directory / TOKENIZER), open_tokenized(tokens))


def reading(config: TrainConfig, directory: Path) -> Reading:
    """The field and separator with which the text of a run was read; when its tokens are gone, those of `config`."""
    try:
        origin = prepared(config, directory).data.recipe.origin
    except LlgenError:
        return Reading(config.data.field, config.data.separator)
    return Reading(origin.get("field"), origin.get("separator"))


def _made_up(config: TrainConfig) -> Iterable[str]:
    return islice(stories(config.seed, config.data.names), config.data.stories)


def _told(config: TrainConfig, reporter: Reporter) -> Iterator[str]:
    """The made-up stories; reported when the first is read, so not at all when the tokens exist already."""
    reporter.stage(f"making up {config.data.stories:,} stories")
    yield from _made_up(config)


def _made_up_key(config: TrainConfig) -> str:
    data = config.data
    return f"{data.stories} made-up stories, seed {config.seed}, {data.names} names of a kind"


def given_vocabulary(config: TrainConfig) -> Vocabulary | None:
    """The tokenizer of the settings: the named file, else the start model's, else the teacher's, else None.

    Raises LlgenError when the file cannot be read, or the model has no tokenizer.
    """
    if config.data.tokenizer is not None:
        return read_vocabulary(config.data.tokenizer)
    model = config.start.model or config.start.teacher
    if model is None:
        return None
    with gathered():  # the same notices come when the model is loaded for training or as teacher
        vocabulary = load_checkpoint(model).vocabulary
    if vocabulary is None:
        raise LlgenError(f"'{model}' has no tokenizer", "--tokenizer FILE, the tokenizer that it was trained with")
    return vocabulary


def _require_fitting(vocabulary: Vocabulary, config: TrainConfig, own: Path) -> None:
    """Raise LlgenError for a tokenizer of another size than the model; `own` is its file if the settings name none."""
    if len(vocabulary) != config.model.vocab_size:
        start = config.start.model
        named = config.data.tokenizer or config.start.teacher or own
        raise LlgenError(
            f"the tokenizer '{named}' has {len(vocabulary)} pieces; model.vocab_size is {config.model.vocab_size}",
            f"--set model.vocab_size={len(vocabulary)}"
            if start is None
            else f"leave it out: the tokenizer of '{start}' has a piece for each row",
        )


def _vocabulary(config: TrainConfig, directory: Path, text: Source | None, reporter: Reporter) -> Vocabulary:
    """The tokenizer of the settings, or one trained on the text; written into the run's directory."""
    given = given_vocabulary(config)
    if given is not None:
        _require_fitting(given, config, directory / TOKENIZER)
        write_tokenizer(given, directory / TOKENIZER)
        return given
    pieces = config.model.vocab_size

    def make() -> Vocabulary:
        reporter.stage(f"training a tokenizer of {pieces:,} pieces")
        if text is not None:
            return train_tokenizer(text.sample(SAMPLE_CHARACTERS), pieces, option="--set model.vocab_size={}")
        few = islice(_made_up(config), _TOKENIZER_STORIES)
        return train_tokenizer([*few, *[" ".join(NAMES)] * _NAMES_WEIGHT], pieces)

    origin = _made_up_key(config) if text is None else text.fingerprint()
    return kept_tokenizer(directory / TOKENIZER, f"{origin} {pieces}", make)
