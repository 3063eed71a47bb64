"""`llgen tokenizer`: train one, look at one, and see what a larger vocabulary saves and costs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypedDict

import click
from rich.console import Console
from rich.table import Table

from llgen.codegen.errors import LlgenError, UsageError
from llgen.codegen.tokenizer_tables import tabulate
from llgen.codegen.vocabulary import Kind, Vocabulary

from .options import answer, field_option, json_option, need_torch, say, separator_option, spinner

_PATH = click.Path(path_type=Path)
_HELD_OUT_EVERY = 10
_Q8_SCALE_BYTES = 2
"""Of a row in scheme q8."""


@click.group("tokenizer")
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
    write_tokenizer(vocabulary, output)
    say(f"wrote {output}: {len(vocabulary)} pieces, {tabulate(vocabulary).size:,} bytes of flash")


@command.command()
@click.argument("tokenizer", type=_PATH)
@click.argument("text", required=False)
@json_option
def show(tokenizer: Path, text: str | None, as_json: bool) -> None:
    """List the pieces of TOKENIZER, or show how it divides TEXT."""
    vocabulary = Vocabulary.from_file(tokenizer)
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
        click.echo(f"{token:>6}  {piece.text}{kind}")
    if text is not None:
        spelled = len(text.encode())
        say(f"{len(ids)} tokens for {spelled} bytes: {spelled / max(len(ids), 1):.3f} a token")


@command.command()
@click.argument("source", type=_PATH)
@click.option("--sizes", default="512,1024,2048,4096", show_default=True, help="Vocabularies to train.")
@click.option("--tokenizer", "given", type=_PATH, multiple=True, help="One that exists, to compare; may be repeated.")
@click.option("--dim", type=click.IntRange(min=1), default=64, show_default=True, help="Width of the model to come.")
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
    """Compare vocabularies by bytes a token, on text they were not trained on, and by the flash they take.

    More bytes a token are fewer steps a text, and more text in the same context; every piece costs a row of the
    embedding.
    """
    need_torch()
    from llgen.trainer.data import Source
    from llgen.trainer.tokenizer import SAMPLE_CHARACTERS

    wanted = _numbers(sizes)
    vocabularies = {str(path): Vocabulary.from_file(path) for path in given}
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
    table = Table("tokenizer", "pieces", "bytes a token", "tables", "flash, f32", "flash, q8")
    table.caption = f"flash: the tables and the embedding, a row of {dim} a piece"
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
        raise UsageError(f"--sizes is '{text}'", "whole numbers with commas between: 512,1024") from error


def _trained(texts: list[str], sizes: list[int], progress: Callable[[str], None]) -> dict[str, Vocabulary]:
    """A vocabulary of each size that the texts yield; those that they do not are named."""
    from llgen.trainer.tokenizer import train_tokenizer

    found = {}
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
    tokens = sum(len(ids) for ids in vocabulary.processor.encode(texts))
    spelled = sum(len(text.encode()) for text in texts)
    return {
        "tokenizer": name,
        "pieces": len(vocabulary),
        "bytes_per_token": round(spelled / tokens, 4),
        "table_bytes": tabulate(vocabulary).size,
        "embedding_f32_bytes": len(vocabulary) * dim * 4,
        "embedding_q8_bytes": len(vocabulary) * (dim + _Q8_SCALE_BYTES),
    }
