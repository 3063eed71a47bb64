"""`llgen eval`: how well a model predicts a text."""

from __future__ import annotations

from pathlib import Path

import click

from llgen.codegen.checkpoint import Checkpoint, load_checkpoint
from llgen.codegen.errors import LlgenError

from .options import answer, json_option, model_argument, need_torch, say, spinner


@click.command("eval")
@model_argument
@click.option("--data", type=click.Path(path_type=Path), required=True, help="Text, JSON lines, a folder, gzip, zstd.")
@click.option("--documents", type=click.IntRange(min=1), help="Score so many, from the first.  [default: all]")
@click.option("--field", help="The field of JSON lines that holds the text.  [default: text]")
@click.option("--separator", help='A line that parts two documents; "line": each line is one.')
@json_option
def command(
    model: Path, data: Path, documents: int | None, field: str | None, separator: str | None, as_json: bool
) -> None:
    """Score MODEL, a model directory or a training run, on --data: nats a token and a byte, and perplexity.

    Each document is scored by itself, behind the start token, as far as the context reaches.
    """
    need_torch()
    from llgen.trainer.data import Source
    from llgen.trainer.evaluate import score_documents
    from llgen.trainer.model import Llama

    checkpoint = _read(model)
    if checkpoint.vocabulary is None:
        raise LlgenError(f"'{model}' has no tokenizer, so it cannot read a text", "llgen import --tokenizer FILE")
    with spinner("scoring") as progress:
        score = score_documents(
            Llama.from_checkpoint(checkpoint),
            checkpoint.vocabulary,
            Source(data, field, separator).documents(),
            documents,
            lambda done: progress(f"scoring: {done:,} documents"),
        )
    if as_json:
        answer(
            {
                "documents": score.documents,
                "tokens": score.tokens,
                "bytes": score.bytes,
                "nats_per_token": score.nats_per_token,
                "nats_per_byte": score.nats_per_byte,
                "perplexity": score.perplexity,
                "scheme": "f32",
                "kv": "f32",
            }
        )
        return
    say(f"{score.documents:,} documents, {score.tokens:,} tokens, {score.bytes:,} bytes")
    say(f"{score.nats_per_token:.4f} nats a token, perplexity {score.perplexity:.4f}")
    say(f"{score.nats_per_byte:.4f} nats a byte")


def _read(path: Path) -> Checkpoint:
    if (path / "metrics.jsonl").exists():
        from llgen.trainer.export import load_run

        return load_run(path)
    return load_checkpoint(path)
