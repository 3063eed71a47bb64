"""`llgen import`: make a model directory from another tool's files."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from ..checkpoint import Checkpoint, listed_end_ids, save_checkpoint
from ..config import ModelConfig
from ..errors import UsageError
from ..fold import FoldedModel, fold
from ..formats.detect import Form, describe, detect, read_any, read_vocabulary
from ..formats.sentencepiece_model import write_model
from ..quantize import round_to_nearest
from ..requantize import weight_errors
from ..spec import lower
from .options import answer, field_option, json_option, need_torch, say, separator_option, spinner
from .tables import aligned

_PATH = click.Path(exists=True, path_type=Path)
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("import")
@click.argument("source", type=_PATH)
@click.option("--tokenizer", type=_FILE, help="tokenizer.model (SentencePiece) or tokenizer.bin (llama2.c).")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The model directory to write.")
@click.option("--data", type=_PATH, help="Of quantised SOURCE: text to measure what q8 costs on, in perplexity.")
@click.option("--documents", type=click.IntRange(min=1), default=100, show_default=True, help="Of that text.")
@field_option
@separator_option
@json_option
def command(
    source: Path,
    tokenizer: Path | None,
    output: Path,
    data: Path | None,
    documents: int,
    field: str | None,
    separator: str | None,
    as_json: bool,
) -> None:
    """Make a model directory from SOURCE.

    SOURCE is a Hugging Face Llama directory, a GGUF file, a llama2.c checkpoint (.bin, v0 to v2) or its training
    checkpoint (.pt); files are known by their content. A llama2.c tokenizer.bin alone becomes the tokenizer.model that
    -o names. Weights that were quantised become float32; what our q8 will cost them is said.
    """
    if detect(source) is Form.LLAMA2C_TOKENIZER:
        _import_tokenizer(source, tokenizer, output, as_json)
        return
    checkpoint = read_any(source, tokenizer)
    again = describe(source).quantised
    if data is not None:
        _require_measurable(checkpoint, source, again)
    save_checkpoint(checkpoint, output)
    _report_model(checkpoint, source, output)
    requantised = None
    if again:
        folded = fold(lower(checkpoint), "q8")
        requantised = _requantised(folded, source)
        if data is not None:
            requantised |= _cost(folded, data, field, separator, documents)
        else:
            say("  --data TEXT says what that costs in perplexity")
    _say_next(checkpoint, output)
    if as_json:
        config = checkpoint.config
        facts = {"model": str(output), "parameters": config.parameter_count, "config": asdict(config)}
        answer(facts if requantised is None else facts | {"requantised": requantised})


def _require_measurable(checkpoint: Checkpoint, source: Path, quantised: bool) -> None:
    if not quantised:
        raise UsageError(f"'{source}' was never quantised, so there is nothing to measure", "leave --data out")
    if checkpoint.vocabulary is None:
        raise UsageError(f"'{source}' comes without a tokenizer, so it cannot read a text", "--tokenizer FILE")
    need_torch("--data")


def _requantised(folded: FoldedModel, source: Path) -> dict[str, Any]:
    """Say how far q8 moves weights that were quantised before, and return it for a program."""
    model = round_to_nearest(folded)
    errors = weight_errors(folded, model)
    size = sum(matrix.stored_bits for matrix in model.matrices().values()) // 8
    say(
        "its weights were quantised before; llgen's q8, one scale a row, rounds them again:"
        f" {size:,} bytes, from a file of {source.stat().st_size:,}"
    )
    rows = [[kind, error.name, f"{error.relative_rms:.2%}"] for kind, error in errors.items()]
    for line in aligned([["matrices", "worst", "RMS error of its weights"], *rows]):
        say(f"  {line}")
    return {"scheme": "q8", "bytes": size, "weights": {kind: asdict(error) for kind, error in errors.items()}}


def _cost(folded: FoldedModel, data: Path, field: str | None, separator: str | None, documents: int) -> dict[str, Any]:
    """Say what that costs in perplexity, and return it for a program."""
    from llgen.trainer.data import Source
    from llgen.trainer.quantize.compare import Contender, compare
    from llgen.trainer.quantize.folded import FoldedLlama

    vocabulary = folded.spec.vocabulary
    assert vocabulary is not None
    with spinner("measuring what q8 costs") as progress:
        cost = compare(
            Contender(*FoldedLlama.exact(folded)),
            {"q8": Contender.of(round_to_nearest(folded))},
            vocabulary,
            Source(data, field, separator).documents(),
            documents,
            lambda done: progress(f"measuring what q8 costs: {done:,} documents"),
        )["q8"]
    say(f"  perplexity {cost} of what was imported, over {cost.documents:,} documents")
    return vars(cost)


def _import_tokenizer(source: Path, tokenizer: Path | None, output: Path, as_json: bool) -> None:
    if tokenizer is not None:
        raise UsageError(f"'{source}' is a tokenizer, and --tokenizer names another", "give the checkpoint as SOURCE")
    if output.suffix != ".model" or output.is_dir():
        raise UsageError(
            f"'{source}' is a tokenizer, so -o must name a .model file, not '{output}'",
            f"-o {source.stem}.model; or give the checkpoint as SOURCE and this as --tokenizer",
        )
    vocabulary = read_vocabulary(source)
    write_model(vocabulary, output)
    say(f"wrote {output}: {len(vocabulary)} pieces, rebuilt from {Form.LLAMA2C_TOKENIZER.value}")
    if as_json:
        answer({"tokenizer": str(output), "pieces": len(vocabulary)})


def say_source(source: Path) -> None:
    """Say what was read, and what reading did to it."""
    form = describe(source)
    say(f"read {source}: {form.text}" + (", dequantised to float32" if form.quantised else ""))


def _say_end_tokens(source: Path) -> None:
    ids = listed_end_ids(source) if detect(source) is Form.HUGGING_FACE else []
    if len(ids) > 1:
        listed = ", ".join(map(str, ids))
        say(f"config.json lists {len(ids)} end tokens ({listed}): generation stops at the first, {ids[0]}, alone")


def _report_model(checkpoint: Checkpoint, source: Path, output: Path) -> None:
    config, vocabulary = checkpoint.config, checkpoint.vocabulary
    say_source(source)
    _say_end_tokens(source)
    say(f"{_shape(config)}; {config.parameter_count:,} parameters")
    say(f"wrote {output}: config.json, model.safetensors" + ("" if vocabulary is None else ", tokenizer.model"))


def _say_next(checkpoint: Checkpoint, output: Path) -> None:
    if checkpoint.vocabulary is None:
        say("no tokenizer: the model takes and gives token ids alone")
        say("  try: the same command with --tokenizer FILE, a tokenizer.model or tokenizer.bin")
        say(f"next: llgen run {output} --tokens {checkpoint.config.bos_id}")
    else:
        say(f'next: llgen run {output} "Once upon a time"')


def _shape(config: ModelConfig) -> str:
    return (
        f"dim {config.dim}, hidden {config.hidden_dim}, {config.n_layers} layers, {config.n_heads} heads, "
        f"{config.n_kv_heads} KV heads, vocabulary {config.vocab_size}, {config.max_seq_len} positions, "
        f"{'tied' if config.tied else 'untied'} classifier"
    )
