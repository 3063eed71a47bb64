"""`llgen tokenizer`: train a tokenizer, look at one, and compare what vocabularies save and cost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypedDict

import click
from rich.console import Console
from rich.table import Table

from llgen.errors import LlgenError, UsageError
from llgen.shown import shown

from ..formats.detect import read_vocabulary
from ..model.vocabulary import Kind, Vocabulary
from ..pack.tabulate import tabulate
from .group import CommandGroup
from .options import FilePath, field_option, need_torch, separator_option, take_file
from .output import answer, json_option, say, spinner

_PATH = FilePath()
_HELD_OUT_EVERY = 10
_Q8_SCALE_BYTES = 2
"""Bytes of a row's scale in scheme q8."""


@click.group("tokenizer", cls=CommandGroup)
def command() -> None:
    """Tokenizers: SentencePiece BPE with byte fallback, of the kind that Llama models use."""


@command.command()
@click.argument("source", type=_PATH)
@click.option("-o", "--output", type=_PATH, default=Path("tokenizer.model"), show_default=True, help="File to write.")
@click.option("--vocab-size", type=click.IntRange(min=1), default=512, show_default=True, help="Pieces.")
@field_option
@separator_option
def train(source: Path, output: Path, vocab_size: int, field: str | None, separator: str | None) -> None:
    """Train a tokenizer on SOURCE: text, JSON lines, a folder of them, gzip or zstd."""
    need_torch()
    from llgen.trainer.data import Source
    from llgen.trainer.tokenizer import SAMPLE_CHARACTERS, train_tokenizer, write_tokenizer

    if output.is_dir():
        raise UsageError(f"'{output}' is a folder", f"-o {output / 'tokenizer.model'}")
    with spinner("training a tokenizer"):
        vocabulary = train_tokenizer(Source(source, field, separator).sample(SAMPLE_CHARACTERS), vocab_size)
    take_file(output)
    write_tokenizer(vocabulary, output)
    say(f"wrote {output}: {len(vocabulary)} pieces, {tabulate(vocabulary).size:,} bytes of flash")


@command.command()
@click.argument("tokenizer", type=_PATH)
@click.argument("text", required=False)
@json_option
def show(tokenizer: Path, text: str | None, as_json: bool) -> None:
    """List the pieces of TOKENIZER, or show how it divides TEXT."""
    vocabulary = read_vocabulary(tokenizer)
    ids = list(range(len(vocabulary))) if text is None else vocabulary.encode(text)
    pieces = [vocabulary.pieces[token] for token in ids]
    if as_json:
        rows = [
            {"id": token, "text": piece.text, "score": piece.score, "kind": piece.kind.name.lower()}
            for token, piece in zip(ids, pieces, strict=True)
        ]
        answer({"pieces": len(vocabulary), "bos": vocabulary.bos_id, "eos": vocabulary.eos_id, "tokens": rows})
        return
    for token, piece in zip(ids, pieces, strict=True):
        kind = "" if piece.kind is Kind.NORMAL else f"  {piece.kind.name.lower()}"
        click.echo(f"{token:>6}  {shown(piece.text)}{kind}")
    if text is not None:
        spelled = len(text.encode())
        say(f"{len(ids)} tokens for {spelled} bytes: {spelled / max(len(ids), 1):.3f} per token")


@command.command()
@click.argument("source", type=_PATH)
@click.option("--sizes", default="512,1024,2048,4096", show_default=True, help="Vocabulary sizes to train.")
@click.option("--tokenizer", "given", type=_PATH, multiple=True, help="An existing one to compare; may be repeated.")
@click.option("--dim", type=click.IntRange(min=1), default=64, show_default=True, help="Width of the planned model.")
@field_option
@separator_option
@json_option
def compare(
    source: Path,
    sizes: str,
    given: tuple[Path, ...],
    dim: int,
    field: str | None,
    separator: str | None,
    as_json: bool,
) -> None:
    """Compare vocabularies by bytes per token, on text that they were not trained on, and by the flash that they take.

    With more bytes per token, a text needs fewer steps, and more text fits the context. Each piece costs a row of the
    embedding.
    """
    need_torch()
    from llgen.trainer.data import Source
    from llgen.trainer.tokenizer import SAMPLE_CHARACTERS

    wanted = _numbers(sizes)
    vocabularies = {str(path): read_vocabulary(path) for path in given}
    with spinner("reading") as progress:
        documents = list(Source(source, field, separator).sample(SAMPLE_CHARACTERS))
        if len(documents) < _HELD_OUT_EVERY:
            raise LlgenError(
                f"'{source}' has {len(documents)} documents; a comparison needs {_HELD_OUT_EVERY}",
                "more text, or --separator line",
            )
        held_out = documents[::_HELD_OUT_EVERY]
        learned = [text for index, text in enumerate(documents) if index % _HELD_OUT_EVERY]
        vocabularies |= _trained(learned, wanted, progress)
        progress("comparing")
        rows = [_measure(name, vocabulary, held_out, dim) for name, vocabulary in vocabularies.items()]
    if as_json:
        answer({"dim": dim, "documents": len(documents), "tokenizers": rows})
        return
    table = Table("tokenizer", "pieces", "bytes per token", "tables", "flash, f32", "flash, q8")
    table.caption = f"flash: the tables and the embedding, a row of {dim} for each piece"
    table.columns[0].overflow = "fold"
    for column in table.columns[1:]:
        column.justify = "right"
    for row in rows:
        table.add_row(
            str(row["tokenizer"]),
            f"{row['pieces']:,}",
            f"{row['bytes_per_token']:.3f}",
            f"{row['table_bytes']:,}",
            f"{row['table_bytes'] + row['embedding_f32_bytes']:,}",
            f"{row['table_bytes'] + row['embedding_q8_bytes']:,}",
        )
    Console(stderr=True).print(table)


def _numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",") if part.strip()]
    except ValueError as error:
        raise UsageError(f"--sizes is '{text}'", "integers separated by commas: 512,1024") from error


def _trained(texts: list[str], sizes: list[int], progress: Callable[[str], None]) -> dict[str, Vocabulary]:
    """Train a vocabulary of each size; leave out, with a message, a size for which there is too little text."""
    from llgen.trainer.tokenizer import train_tokenizer

    found: dict[str, Vocabulary] = {}
    for size in sizes:
        progress(f"training a tokenizer of {size:,} pieces")
        try:
            found[f"trained, {size}"] = train_tokenizer(texts, size)
        except LlgenError as error:
            say(f"left out: {error.message}")
    return found


class _Row(TypedDict):
    """One tokenizer of a comparison; sizes are bytes of flash."""

    tokenizer: str
    pieces: int
    bytes_per_token: float
    table_bytes: int
    embedding_f32_bytes: int
    embedding_q8_bytes: int


def _measure(name: str, vocabulary: Vocabulary, texts: list[str], dim: int) -> _Row:
    tokens = sum(len(ids) for ids in vocabulary.encode_all(texts))
    spelled = sum(len(text.encode()) for text in texts)
    return {
        "tokenizer": name,
        "pieces": len(vocabulary),
        "bytes_per_token": round(spelled / tokens, 4),
        "table_bytes": tabulate(vocabulary).size,
        "embedding_f32_bytes": len(vocabulary) * dim * 4,
        "embedding_q8_bytes": len(vocabulary) * (dim + _Q8_SCALE_BYTES),
    }
