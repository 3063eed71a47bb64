"""`llgen import`: make a model directory from another tool's files."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from llgen.errors import UsageError
from llgen.notices import gathered

from ..formats.detect import Form, describe, detect, read_any, read_vocabulary
from ..formats.hf.directory import save_checkpoint
from ..formats.hf.folder import require_other_place, require_room
from ..formats.hf.provenance import SOURCE, describe_source
from ..formats.hf.rope import scaling_to_hf
from ..formats.sentencepiece_model import write_model
from ..model.architectures import parameter_count
from ..model.checkpoint import Checkpoint
from ..model.config import ModelConfig
from ..model.sentence_piece import SentencePiece
from ..model.spec import ModelSpec, lower
from ..quantise.fold import FoldedModel, fold
from ..quantise.quantize import round_to_nearest
from ..quantise.requantize import requantised
from .options import FilePath, field_option, need_torch, separator_option, take_file
from .output import answer, json_option, say, spinner
from .tables import aligned
from .tokenizer_options import require_one_choice, tokenizer_options

_PATH = FilePath(exists=True)
_FILE = FilePath(exists=True, dir_okay=False)


@click.command("import")
@click.argument("source", type=_PATH)
@tokenizer_options
@click.option("-o", "--output", type=FilePath(), required=True, help="The model directory to write.")
@click.option("--data", type=_PATH, help="If SOURCE is quantised: text to measure the perplexity that q8 costs.")
@click.option("--documents", type=click.IntRange(min=1), default=100, show_default=True, help="Documents of --data.")
@field_option
@separator_option
@json_option
def command(
    source: Path,
    tokenizer: Path | None,
    no_tokenizer: bool,
    space_prefix: bool | None,
    output: Path,
    data: Path | None,
    documents: int,
    field: str | None,
    separator: str | None,
    as_json: bool,
) -> None:
    """Make a model directory from SOURCE.

    SOURCE is a Hugging Face Llama directory, a GGUF file, a llama2.c checkpoint (.bin, v0 to v2) or its training
    checkpoint (.pt); files are recognised by their content. If SOURCE is a llama2.c tokenizer.bin, the command writes
    it as the tokenizer.model that -o names. Quantised weights become float32; the command then prints the error that
    llgen's q8 adds.
    """
    if detect(source) is Form.LLAMA2C_TOKENIZER:
        _import_tokenizer(source, tokenizer, space_prefix, output, as_json)
        return
    require_one_choice(tokenizer, no_tokenizer, space_prefix)
    require_other_place(source, output)
    require_room(output)
    with gathered() as notices:
        checkpoint = read_any(source, tokenizer, without_tokenizer=no_tokenizer, space_prefix=space_prefix)
    again = describe(source).quantised
    if data is not None:
        _require_measurable(checkpoint, source, again)
    told = describe_source(source, detect(source).name.lower(), tokenizer)
    names = save_checkpoint(checkpoint, output, {SOURCE: told})
    _report_model(checkpoint, source, output, names)
    again_facts = None
    if again:
        spec = lower(checkpoint)
        again_facts = _say_requantised(spec, source)
        if data is not None:
            again_facts |= _cost(fold(spec, "q8"), data, field, separator, documents)
        else:
            say("  --data TEXT measures what that costs in perplexity")
    _say_next(checkpoint, output)
    if as_json:
        config = checkpoint.config
        shape = asdict(config)
        if config.rope_scaling is not None:
            shape["rope_scaling"] = scaling_to_hf(config.rope_scaling, config.max_seq_len)
        facts = {"model": str(output), "parameters": parameter_count(config), "config": shape, "notices": notices}
        answer(facts if again_facts is None else facts | {"requantised": again_facts})


def _require_measurable(checkpoint: Checkpoint, source: Path, quantised: bool) -> None:
    if not quantised:
        raise UsageError(f"'{source}' was never quantised, so there is nothing to measure", "leave --data out")
    if checkpoint.vocabulary is None:
        raise UsageError(f"'{source}' comes without a tokenizer, so it cannot read a text", "--tokenizer FILE")
    need_torch("--data")


def _say_requantised(spec: ModelSpec, source: Path) -> dict[str, Any]:
    """Say how much q8 changes weights that were quantised before, and return the errors for a program."""
    found = requantised(spec)
    size = found.stored_bits // 8
    say(
        "its weights were quantised before; llgen's q8, with one scale per row, rounds them again:"
        f" {size:,} bytes, from a file of {source.stat().st_size:,}"
    )
    rows = [[kind, error.name, f"{error.relative_rms:.2%}"] for kind, error in found.errors.items()]
    for line in aligned([["matrices", "worst", "RMS error of its weights"], *rows]):
        say(f"  {line}")
    return {"scheme": "q8", "bytes": size, "weights": {kind: asdict(error) for kind, error in found.errors.items()}}


def _cost(folded: FoldedModel, data: Path, field: str | None, separator: str | None, documents: int) -> dict[str, Any]:
    """Say what q8 costs in perplexity, and return the numbers for a program."""
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


def _import_tokenizer(
    source: Path, tokenizer: Path | None, space_prefix: bool | None, output: Path, as_json: bool
) -> None:
    if tokenizer is not None:
        raise UsageError(f"'{source}' is a tokenizer, and --tokenizer names another", "give the checkpoint as SOURCE")
    if output.suffix != ".model" or output.is_dir():
        raise UsageError(
            f"'{source}' is a tokenizer, so -o must name a .model file, not '{output}'",
            f"-o {source.stem}.model; or give the checkpoint as SOURCE and this as --tokenizer",
        )
    vocabulary = read_vocabulary(source, space_prefix)
    assert isinstance(vocabulary, SentencePiece)  # a tokenizer.bin is nothing else
    take_file(output)
    write_model(vocabulary, output)
    say(f"wrote {output}: {len(vocabulary)} pieces, rebuilt from {Form.LLAMA2C_TOKENIZER.value}")
    if as_json:
        answer({"tokenizer": str(output), "pieces": len(vocabulary)})


def say_source(source: Path) -> None:
    """Say what was read, and whether it was dequantised."""
    form = describe(source)
    say(f"read {source}: {form.text}" + (", dequantised to float32" if form.quantised else ""))


def _report_model(checkpoint: Checkpoint, source: Path, output: Path, names: list[str]) -> None:
    config = checkpoint.config
    say_source(source)
    say(f"{_shape(config)}; {parameter_count(config):,} parameters")
    say(f"wrote {output}: {', '.join(names)}")


def _say_next(checkpoint: Checkpoint, output: Path) -> None:
    if checkpoint.vocabulary is None:
        say("no tokenizer: input and output are only token ids")
        say("  try: the same command with --tokenizer FILE, a tokenizer.model, tokenizer.json or tokenizer.bin")
        say(f"next: llgen run {output} --tokens {checkpoint.config.start_id}")
    else:
        say(f'next: llgen run {output} "Once upon a time"')


def _shape(config: ModelConfig) -> str:
    scaled = "" if config.rope_scaling is None else f", RoPE scaled ({config.rope_scaling.kind})"
    return (
        f"dim {config.dim}, hidden {config.hidden_dim}, {config.n_layers} layers, {config.n_heads} heads, "
        f"{config.n_kv_heads} KV heads, vocabulary {config.vocab_size}, {config.max_seq_len} positions, "
        f"{'tied' if config.tied else 'untied'} classifier{scaled}"
    )
