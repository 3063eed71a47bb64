"""`llgen eval`: how well a model predicts a text."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from llgen.errors import LlgenError, UsageError

from ..formats.hf.directory import load_checkpoint
from ..formats.hf.training_record import Reading, read_reading
from ..model.checkpoint import Checkpoint
from ..model.spec import lower
from ..quantise.fold import fold
from ..quantise.quantize import quantized
from ..quantise.quantized import is_quantized, read_model
from .options import FilePath, field_option, kv_option, model_argument, need_torch, scheme_option, separator_option
from .output import answer, json_option, say, spinner

if TYPE_CHECKING:
    from llgen.trainer.data import Source
    from llgen.trainer.quantize.compare import Comparison


@click.command("eval")
@model_argument
@click.option("--data", type=FilePath(), required=True, help="Text or JSON lines, gzip or zstd, or a folder of them.")
@click.option("--documents", type=click.IntRange(min=1), help="Score only this many, from the first.  [default: all]")
@field_option
@separator_option
@click.option("--reference", type=FilePath(), help="The float32 model that a quantised MODEL was made from.")
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
    """Score MODEL, a model directory or a training run, on --data: nats per token and per byte, and perplexity.

    Each document is scored separately, after the start token, up to the length of the context. A scheme other than
    float32 is compared with the float32 model: the ratio of perplexities with its standard error over documents, KL,
    and how often the likeliest token is the same.
    """
    need_torch("scoring")
    texts = _source(model, reference, data, field, separator).documents()
    if scheme in (None, "f32") and not is_quantized(model):
        if kv == "q8" or reference is not None:
            option = "--kv q8" if kv == "q8" else "--reference"
            raise UsageError(f"{option} is for quantised models, and '{model}' holds float32", "--scheme q8 or q4")
        row, result = None, _score(_read(model), model, texts, documents)
    else:
        row, result = _compare(model, reference, scheme, kv, texts, documents)
    if as_json:
        answer(result)
        return
    say(f"{result['documents']:,} documents, {result['tokens']:,} tokens; {result['scheme']}, cache {result['kv']}")
    say(f"{result['nats_per_token']:.4f} nats per token, perplexity {result['perplexity']:.4f}")
    if "nats_per_byte" in result:
        say(f"{result['nats_per_byte']:.4f} nats per byte")
    if row is not None:
        say(f"perplexity {row} of the float32 model's, KL {row.kl:.4f} nats, same likeliest token {row.top1:.1%}")


def _source(model: Path, reference: Path | None, data: Path, field: str | None, separator: str | None) -> Source:
    """The text, read as the options say; without options, read like the model's training text."""
    from llgen.trainer.data import Source

    known = None
    if field is None and separator is None:
        known = next(filter(None, (_reading(path) for path in (model, reference) if path is not None)), None)
    if known is None or known == Reading():
        return Source(data, field, separator)
    source = Source(data, known.field, known.separator, by_content=True)
    option, value = ("--separator", known.separator) if source.is_text() else ("--field", known.field)
    if value is not None:
        say(f"read with {option} {value!r}, like the text that the model was trained on")
    return source


def _reading(path: Path) -> Reading | None:
    if not (path / "metrics.jsonl").exists():
        return read_reading(path)
    from llgen.trainer.config import TrainConfig
    from llgen.trainer.prepare import reading

    return reading(TrainConfig.load(path / "config.json"), path)


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
        raise UsageError(f"'{path}' holds only integers", "--reference MODEL, the float32 model it was made from")
    exact = _read(reference or path)
    if is_quantized(path):
        model = read_model(path, scheme, kv)
    else:
        model = quantized(exact if reference is None else _read(path), scheme or "f32", kv)
    if model.vocabulary is None:
        raise _no_tokenizer(path)
    if exact.config != model.config:
        raise UsageError(f"'{reference}' has another shape than '{path}'", "name the float32 model it was made from")
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
