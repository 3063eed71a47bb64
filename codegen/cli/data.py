"""`llgen data`: tokenise text or TinyStories once, for many training runs."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from llgen.errors import UsageError
from llgen.sole_writer import require_no_file

from ..formats.detect import read_vocabulary
from ..model.vocabulary import Vocabulary
from .group import CommandGroup
from .options import FilePath, field_option, need_torch, separator_option, take_folder
from .output import answer, json_option, say, spinner

if TYPE_CHECKING:
    from llgen.trainer.data import Source, TokenizedData

_PATH = FilePath()
_USUAL_PIECES = 512
"""Vocabulary size that suits a model of 260 thousand parameters."""
_TINYSTORIES_HELD_OUT = 0.005
"""Held-out share of the 2.7 million stories: as many stories as an evaluation reads at most."""
_tokenizer_option = click.option(
    "--tokenizer", type=_PATH, help="A tokenizer.model, tokenizer.json or tokenizer.bin.  [default: train one]"
)
_vocab_option = click.option(
    "--vocab-size", type=click.IntRange(min=1), help=f"Pieces of a trained tokenizer.  [default: {_USUAL_PIECES}]"
)
_held_out_option = click.option(
    "--held-out", type=click.FloatRange(0, 0.5, min_open=True), default=0.05, show_default=True, help="Held-out share."
)


@click.group("data", cls=CommandGroup)
def command() -> None:
    """Tokenise text once, for many runs; or show what a folder of tokens holds."""


@command.command()
@click.argument("source", type=_PATH)
@click.option("-o", "--output", type=_PATH, required=True, help="Folder of the tokens.")
@_tokenizer_option
@_vocab_option
@field_option
@separator_option
@_held_out_option
@json_option
def prepare(
    source: Path,
    output: Path,
    tokenizer: Path | None,
    vocab_size: int | None,
    field: str | None,
    separator: str | None,
    held_out: float,
    as_json: bool,
) -> None:
    """Tokenise SOURCE: text, JSON lines, a folder of them, gzip or zstd.

    After an interruption, the same command continues. Train on the result with `llgen train --data FOLDER`.
    """
    need_torch()
    from llgen.trainer.data import Source

    _prepare(Source(source, field, separator), output, tokenizer, vocab_size, held_out, as_json)


@command.command()
@click.option("-o", "--output", type=_PATH, required=True, help="Folder of the tokens.")
@click.option(
    "--from", "texts", type=_PATH, help="Folder where the texts are, or are downloaded to.  [default: OUTPUT/texts]"
)
@_tokenizer_option
@_vocab_option
@json_option
def tinystories(
    output: Path, texts: Path | None, tokenizer: Path | None, vocab_size: int | None, as_json: bool
) -> None:
    """Download TinyStories (2.2 GB) and tokenise it; without a network, say what to download by hand.

    An interrupted download continues.
    """
    need_torch()
    from llgen.trainer.data import Source
    from llgen.trainer.data.tinystories import fetch

    _require_choice(output, tokenizer, vocab_size)
    take_folder(output)
    with _bar("downloading") as (progress, task):
        train, valid = fetch(
            texts or output / "texts", lambda have, whole: progress.update(task, completed=have, total=whole)
        )
    _prepare(Source(train), output, tokenizer, vocab_size, _TINYSTORIES_HELD_OUT, as_json)
    say(f"evaluate with: llgen eval MODEL --data {valid}")


@command.command()
@click.argument("directory", type=_PATH)
@json_option
def show(directory: Path, as_json: bool) -> None:
    """Say what a folder of tokens holds, and whether its files are whole."""
    need_torch()
    from llgen.trainer.data import open_tokenized

    with spinner("reading"):
        data = open_tokenized(directory, verify=True)
    _tell(data, directory, as_json)


def _require_choice(output: Path, tokenizer: Path | None, vocab_size: int | None) -> None:
    require_no_file(output)
    if tokenizer is not None and vocab_size is not None:
        raise UsageError(
            f"--vocab-size {vocab_size} is for training a tokenizer; --tokenizer has its own pieces", "give one of them"
        )


def _prepare(
    source: Source, output: Path, tokenizer: Path | None, vocab_size: int | None, held_out: float, as_json: bool
) -> None:
    from llgen.trainer.data import tell_of_few_documents, tokenize
    from llgen.trainer.tokenizer import SAMPLE_CHARACTERS, kept_tokenizer, train_tokenizer, write_tokenizer

    _require_choice(output, tokenizer, vocab_size)
    take_folder(output)
    kept, size, pieces = output / "tokenizer.model", source.size(), vocab_size or _USUAL_PIECES
    with _bar("looking at the text") as (progress, task):

        def told(read: int) -> None:
            progress.update(task, completed=read, total=size)

        def trained() -> Vocabulary:
            progress.update(task, description="training a tokenizer")
            return train_tokenizer(source.sample(SAMPLE_CHARACTERS, told), pieces)

        if tokenizer is not None:
            vocabulary = read_vocabulary(tokenizer)
        else:
            vocabulary = kept_tokenizer(kept, f"{source.fingerprint()} {pieces}", trained)
        progress.update(task, description="tokenising")
        data = tokenize(source, vocabulary, output, held_out=held_out, told=told)
    tell_of_few_documents(source, data)
    if tokenizer is not None:
        write_tokenizer(vocabulary, kept)  # last: if tokenising fails, the earlier tokenizer stays with its tokens
    _tell(data, output, as_json)


def _tell(data: TokenizedData, directory: Path, as_json: bool) -> None:
    parts = {"train": data.train, "held_out": data.held_out}
    facts = {
        name: {
            "documents": len(part.starts),
            "tokens": len(part),
            "text_bytes": part.text_bytes,
            "bytes_per_token": round(part.text_bytes / max(len(part) - len(part.starts), 1), 4),  # without BOS
            "shards": len(part.shards),
        }
        for name, part in parts.items()
    }
    if as_json:
        answer({"directory": str(directory), "vocab_size": data.vocab_size, "origin": data.recipe.origin, **facts})
        return
    for name, fact in facts.items():
        say(
            f"{name.replace('_', ' '):9} {fact['documents']:>12,} documents {fact['tokens']:>14,} tokens"
            f" {fact['text_bytes']:>15,} bytes, {fact['bytes_per_token']:.3f} per token"
        )
    say(f"next: llgen train --data {shlex.quote(str(directory))} -o run --set model.vocab_size={data.vocab_size}")


@contextmanager
def _bar(what: str) -> Iterator[tuple[Progress, TaskID]]:
    """A bar of bytes on a terminal, nothing elsewhere."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(
        *columns, TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        yield progress, progress.add_task(what, total=None)
