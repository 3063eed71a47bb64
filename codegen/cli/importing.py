"""`llgen import`: make a model directory from another tool's files."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from ..checkpoint import Checkpoint, save_checkpoint
from ..config import ModelConfig
from ..errors import UsageError
from ..formats.detect import Form, describe, detect, read_any, read_vocabulary
from ..formats.sentencepiece_model import write_model

_PATH = click.Path(exists=True, path_type=Path)
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("import")
@click.argument("source", type=_PATH)
@click.option("--tokenizer", type=_FILE, help="tokenizer.model (SentencePiece) or tokenizer.bin (llama2.c).")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The model directory to write.")
@click.option("--json", "as_json", is_flag=True, help="Print what was made as JSON.")
def command(source: Path, tokenizer: Path | None, output: Path, as_json: bool) -> None:
    """Make a model directory from SOURCE.

    SOURCE is a llama2.c checkpoint (.bin, v0 to v2) or a Hugging Face Llama directory; files are known by their
    content. A llama2.c tokenizer.bin alone becomes the tokenizer.model that -o names.
    """
    if detect(source) is Form.LLAMA2C_TOKENIZER:
        _import_tokenizer(source, tokenizer, output, as_json)
        return
    checkpoint = read_any(source, tokenizer)
    save_checkpoint(checkpoint, output)
    _report_model(checkpoint, source, output)
    if as_json:
        config = checkpoint.config
        answer = {"model": str(output), "parameters": config.parameter_count, "config": asdict(config)}
        click.echo(json.dumps(answer))


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
    _say(f"wrote {output}: {len(vocabulary)} pieces, rebuilt from {Form.LLAMA2C_TOKENIZER.value}")
    if as_json:
        click.echo(json.dumps({"tokenizer": str(output), "pieces": len(vocabulary)}))


def _report_model(checkpoint: Checkpoint, source: Path, output: Path) -> None:
    config, vocabulary = checkpoint.config, checkpoint.vocabulary
    form = describe(source)
    _say(f"read {source}: {form}" + (", dequantised to float32" if "Q8_0" in form else ""))
    _say(f"{_shape(config)}; {config.parameter_count:,} parameters")
    _say(f"wrote {output}: config.json, model.safetensors" + ("" if vocabulary is None else ", tokenizer.model"))
    if vocabulary is None:
        _say("no tokenizer: the model takes and gives token ids alone")
        _say("  try: the same command with --tokenizer FILE, a tokenizer.model or tokenizer.bin")
        _say(f"next: llgen run {output} --tokens {config.bos_id}")
    else:
        _say(f'next: llgen run {output} "Once upon a time"')


def _shape(config: ModelConfig) -> str:
    return (
        f"dim {config.dim}, hidden {config.hidden_dim}, {config.n_layers} layers, {config.n_heads} heads, "
        f"{config.n_kv_heads} KV heads, vocabulary {config.vocab_size}, {config.max_seq_len} positions, "
        f"{'tied' if config.tied else 'untied'} classifier"
    )


def _say(line: str) -> None:
    click.echo(line, err=True)
