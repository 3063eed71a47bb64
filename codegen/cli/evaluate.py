"""`llgen eval`: how well a model predicts a text."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from llgen.codegen.checkpoint import Checkpoint, load_checkpoint
from llgen.codegen.errors import LlgenError, UsageError
from llgen.codegen.fold import fold
from llgen.codegen.pipeline import quantized
from llgen.codegen.quantized import is_quantized, read_model
from llgen.codegen.spec import lower

from .options import (
    answer,
    field_option,
    json_option,
    kv_option,
    model_argument,
    need_torch,
    say,
    scheme_option,
    separator_option,
    spinner,
)

if TYPE_CHECKING:
    from llgen.trainer.quantize.compare import Comparison


@click.command("eval")
@model_argument
@click.option("--data", type=click.Path(path_type=Path), required=True, help="Text, JSON lines, a folder, gzip, zstd.")
@click.option("--documents", type=click.IntRange(min=1), help="Score so many, from the first.  [default: all]")
@field_option
@separator_option
@click.option("--reference", type=click.Path(path_type=Path), help="The float32 model that a quantised one is of.")
@scheme_option
@kv_option
@json_option
def command(
    model: Path,
    data: Path,
    documents: int | None,
    field: str | None,
    separator: str | None,
    reference: Path | None,
    scheme: str | None,
    kv: str | None,
    as_json: bool,
) -> None:
    """Score MODEL, a model directory or a training run, on --data: nats a token and a byte, and perplexity.

    Each document is scored by itself, behind the start token, as far as the context reaches. Another scheme than
    float32 is held against the float32 model: the ratio of perplexities with its standard error over documents, KL,
    and how often the likeliest token is the same.
    """
    need_torch("scoring")
    from llgen.trainer.data import Source

    texts = Source(data, field, separator).documents()
    if scheme in (None, "f32") and not is_quantized(model):
        if kv == "q8" or reference is not None:
            option = "--kv q8" if kv == "q8" else "--reference"
            raise UsageError(f"{option} is for integers, and '{model}' holds float32", "--scheme q8 or q4")
        row, result = None, _score(_read(model), model, texts, documents)
    else:
        row, result = _compare(model, reference, scheme, kv, texts, documents)
    if as_json:
        answer(result)
        return
    say(f"{result['documents']:,} documents, {result['tokens']:,} tokens; {result['scheme']}, cache {result['kv']}")
    say(f"{result['nats_per_token']:.4f} nats a token, perplexity {result['perplexity']:.4f}")
    if "nats_per_byte" in result:
        say(f"{result['nats_per_byte']:.4f} nats a byte")
    if row is not None:
        say(f"perplexity {row} of float32's, KL {row.kl:.4f} nats, same likeliest token {row.top1:.1%}")


def _score(checkpoint: Checkpoint, path: Path, texts: Iterable[str], documents: int | None) -> dict[str, Any]:
    from llgen.trainer.device import choose_device
    from llgen.trainer.evaluate import score_documents
    from llgen.trainer.model import Llama

    if checkpoint.vocabulary is None:
        raise _no_tokenizer(path)
    with spinner("scoring") as progress:
        score = score_documents(
            Llama.from_checkpoint(checkpoint).to(choose_device("auto")),
            checkpoint.vocabulary,
            texts,
            documents,
            lambda done: progress(f"scoring: {done:,} documents"),
        )
    return {
        "documents": score.documents,
        "tokens": score.tokens,
        "bytes": score.bytes,
        "nats_per_token": score.nats_per_token,
        "nats_per_byte": score.nats_per_byte,
        "perplexity": score.perplexity,
        "scheme": "f32",
        "kv": "f32",
    }


def _compare(
    path: Path,
    reference: Path | None,
    scheme: str | None,
    kv: str | None,
    texts: Iterable[str],
    documents: int | None,
) -> tuple[Comparison, dict[str, Any]]:
    from llgen.trainer.quantize.compare import Contender, compare
    from llgen.trainer.quantize.folded import FoldedLlama

    if is_quantized(path) and reference is None:
        raise UsageError(f"'{path}' holds integers alone", "--reference MODEL, the float32 model it was made of")
    exact = _read(reference or path)
    if is_quantized(path):
        model = read_model(path, scheme, kv)
    else:
        model = quantized(exact if reference is None else _read(path), scheme or "f32", kv)
    if model.vocabulary is None:
        raise _no_tokenizer(path)
    if exact.config != model.config:
        raise UsageError(f"'{reference}' has another shape than '{path}'", "the float32 model it was made of")
    with spinner("comparing") as progress:
        row = compare(
            Contender(*FoldedLlama.exact(fold(lower(exact), "f32"))),
            {"it": Contender.of(model)},
            model.vocabulary,
            texts,
            documents,
            lambda done: progress(f"comparing: {done:,} documents"),
        )["it"]
    return row, {**vars(row), "perplexity": math.exp(row.nats_per_token), "scheme": model.scheme, "kv": model.kv}


def _no_tokenizer(path: Path) -> LlgenError:
    return LlgenError(f"'{path}' has no tokenizer, so it cannot read a text", "llgen import --tokenizer FILE")


def _read(path: Path) -> Checkpoint:
    if (path / "metrics.jsonl").exists():
        from llgen.trainer.export import load_run

        return load_run(path)
    return load_checkpoint(path)
