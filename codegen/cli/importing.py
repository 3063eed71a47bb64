"""`llgen import`: make a model directory from another tool's files."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from ..checkpoint import Checkpoint, listed_end_ids, save_checkpoint
from ..config import ModelConfig
from ..errors import UsageError
from ..formats.detect import Form, describe, detect, read_any, read_vocabulary
from ..formats.sentencepiece_model import write_model
from .options import answer, json_option, say

_PATH = click.Path(exists=True, path_type=Path)
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("import")
@click.argument("source", type=_PATH)
@click.option("--tokenizer", type=_FILE, help="tokenizer.model (SentencePiece) or tokenizer.bin (llama2.c).")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The model directory to write.")
@json_option
def command(source: Path, tokenizer: Path | None, output: Path, as_json: bool) -> None:
    """Make a model directory from SOURCE.

    SOURCE is a Hugging Face Llama directory, a GGUF file, a llama2.c checkpoint (.bin, v0 to v2) or its training
    checkpoint (.pt); files are known by their content. A llama2.c tokenizer.bin alone becomes the tokenizer.model that
    -o names.
    """
    if detect(source) is Form.LLAMA2C_TOKENIZER:
        _import_tokenizer(source, tokenizer, output, as_json)
        return
    checkpoint = read_any(source, tokenizer)
    save_checkpoint(checkpoint, output)
    _report_model(checkpoint, source, output)
    if as_json:
        config = checkpoint.config
        answer({"model": str(output), "parameters": config.parameter_count, "config": asdict(config)})


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
    if vocabulary is None:
        say("no tokenizer: the model takes and gives token ids alone")
        say("  try: the same command with --tokenizer FILE, a tokenizer.model or tokenizer.bin")
        say(f"next: llgen run {output} --tokens {config.bos_id}")
    else:
        say(f'next: llgen run {output} "Once upon a time"')


def _shape(config: ModelConfig) -> str:
    return (
        f"dim {config.dim}, hidden {config.hidden_dim}, {config.n_layers} layers, {config.n_heads} heads, "
        f"{config.n_kv_heads} KV heads, vocabulary {config.vocab_size}, {config.max_seq_len} positions, "
        f"{'tied' if config.tied else 'untied'} classifier"
    )
