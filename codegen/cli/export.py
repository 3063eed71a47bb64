"""`llgen export`: write a model as a file of another tool."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from llgen.errors import LlgenError, UsageError

from ..formats.detect import Form, detect, needs_torch, read_any
from ..formats.hf.directory import save_checkpoint
from ..formats.hf.folder import require_other_place
from ..formats.llama2c.header import require_representable
from ..formats.llama2c.read import read_header
from ..formats.llama2c.tokenizer import write_tokenizer_bin
from ..formats.llama2c.write import GROUP_SIZE, fitting_group_size, write_llama2c
from ..model.architectures import parameter_count
from ..model.byte_level import ByteLevel
from ..model.checkpoint import Checkpoint
from ..model.sentence_piece import SentencePiece
from .export_format import ALIASES, FORMATS, chosen_format
from .importing import say_source
from .options import take_file, take_folder
from .output import answer, json_option, say
from .tokenizer_options import require_one_choice, tokenizer_options

_PATH = click.Path(exists=True, path_type=Path)
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


_RUN_C_BYTES = 3
"""The piece that run.c uses for byte 0."""


@dataclass(frozen=True)
class _Asked:
    """The options of the command line; None: not given."""

    format: str
    type: str | None
    version: int | None
    group_size: int | None
    output: Path


@click.command("export")
@click.argument("model", type=_PATH)
@click.option(
    "--format",
    "format_",
    type=click.Choice([*FORMATS, *ALIASES]),
    help="What to write; hf is huggingface.  [default: by the name of the output: .gguf, .bin, .pt, or a directory]",
)
@click.option(
    "--type",
    "type_",
    type=click.Choice(["f32", "f16", "q8_0", "q4_0"]),
    help="gguf: number format of the matrices.  [default: f32]",
)
@click.option("--version", type=click.IntRange(0, 2), help="llama2c: 0 for run.c, 2 (8 bits) for runq.c.  [default: 0]")
@click.option(
    "--group-size",
    type=click.IntRange(1, 1 << 16),
    help=f"llama2c 2: weights that share a scale.  [default: {GROUP_SIZE}]",
)
@tokenizer_options
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The file or directory to write.")
@json_option
def command(
    model: Path,
    format_: str | None,
    type_: str | None,
    version: int | None,
    group_size: int | None,
    tokenizer: Path | None,
    no_tokenizer: bool,
    space_prefix: bool | None,
    output: Path,
    as_json: bool,
) -> None:
    """Write MODEL as another tool's file: a Hugging Face directory, GGUF, llama2.c's .bin, or its training checkpoint.

    MODEL is a model directory, or anything that `llgen import` reads.
    """
    asked = _Asked(chosen_format(format_, output), type_, version, group_size, output)
    _check(asked)
    require_other_place(model, output)
    require_one_choice(tokenizer, no_tokenizer, space_prefix)
    checkpoint = read_any(model, tokenizer, without_tokenizer=no_tokenizer, space_prefix=space_prefix)
    say_source(model)
    (take_folder if asked.format == "huggingface" else take_file)(output)
    files = _WRITERS[asked.format](checkpoint, asked)
    if as_json:
        answer(
            {
                "model": str(output),
                "format": asked.format,
                "files": [str(file) for file in files],
                "parameters": parameter_count(checkpoint.config),
            }
        )


def _check(asked: _Asked) -> None:
    """Refuse options of another format, and an existing output that is not a file of this format."""
    if asked.type is not None and asked.format != "gguf":
        raise UsageError(f"--type is for --format gguf, not {asked.format}")
    if asked.version is not None and asked.format != "llama2c":
        raise UsageError(f"--version is for --format llama2c, not {asked.format}")
    if asked.group_size is not None and asked.version != 2:
        raise UsageError("--group-size is for --format llama2c --version 2, whose weights share scales")
    if asked.format != "huggingface":
        _require_replaceable(asked.output, {"gguf": Form.GGUF, "llama2c": Form.LLAMA2C, "pt": Form.TORCH}[asked.format])


def _require_replaceable(path: Path, form: Form) -> None:
    if path.is_dir():
        raise UsageError(f"'{path}' is a directory; {form.value} is a file", "name a file with -o")
    if not path.exists():
        return
    found = detect(path)
    try:
        if found is form is Form.LLAMA2C:
            read_header(path)  # because `detect` takes any unknown file for this form
    except LlgenError:
        found = Form.JSON
    if found is not form:
        raise LlgenError(f"'{path}' exists and is not {form.value}", "choose another -o")


# ---------------------------------------------------------------------------------------------------------- formats


def _huggingface(checkpoint: Checkpoint, asked: _Asked) -> Sequence[Path]:
    names = save_checkpoint(checkpoint, asked.output)
    say(f"wrote {asked.output}: {', '.join(names)}")
    say(f'next: transformers.AutoModelForCausalLM.from_pretrained("{asked.output}")')
    return [asked.output / name for name in names]


def _gguf(checkpoint: Checkpoint, asked: _Asked) -> Sequence[Path]:
    from ..formats.gguf.write import BLOCK, write_gguf

    kind = asked.type or "f32"
    kept = write_gguf(checkpoint, asked.output, kind)
    _say_wrote(asked.output, f"GGUF, {kind.upper()}")
    if kept:
        count = f"{len(kept)} {'matrix' if len(kept) == 1 else 'matrices'}"
        say(f"F16 instead of {kind.upper()}, whose blocks of 32 do not divide the rows: {count}, first {kept[0]}")
    if checkpoint.vocabulary is None:
        say("no tokenizer: llama.cpp will read and print only token ids")
    else:
        say(f'next: llama-cli -m {asked.output} -p "Once upon a time"')
        if isinstance(checkpoint.vocabulary, SentencePiece) and not checkpoint.vocabulary.byte_ids:
            say("  this tokenizer has no byte pieces: llama.cpp may crash while it reads a text")
    width = checkpoint.config.head_dim
    if width % BLOCK:
        say(f"  do not use a quantised K cache: its blocks of {BLOCK} do not divide heads of {width};")
        say("  with flash attention off, llama.cpp then computes wrong results without a warning")
    return [asked.output]


def _llama2c(checkpoint: Checkpoint, asked: _Asked) -> Sequence[Path]:
    config, vocabulary, output = checkpoint.config, checkpoint.vocabulary, asked.output
    tokenizer = output.with_suffix(".tokenizer.bin")
    require_representable(config)  # before the first of two files is written
    if isinstance(vocabulary, ByteLevel):
        raise LlgenError("a tokenizer.bin cannot hold byte-level BPE", "export to huggingface or gguf")
    assert vocabulary is None or isinstance(vocabulary, SentencePiece)
    if vocabulary is not None:
        write_tokenizer_bin(vocabulary, tokenizer)
    wanted = asked.group_size or GROUP_SIZE
    header = write_llama2c(checkpoint, output, asked.version or 0, fitting_group_size(config, wanted))
    _say_wrote(output, header.description)
    if header.group_size not in (None, wanted):
        say(f"groups of {header.group_size}: {wanted} does not divide dim {config.dim} and hidden {config.hidden_dim}")
    if (config.bos_id, config.eos_id) != (1, 2):
        own = " and ".join("none" if token is None else str(token) for token in (config.bos_id, config.eos_id))
        say(f"llama2.c's code expects BOS 1 and EOS 2; this model's are {own}")
    if vocabulary is None:
        say("no tokenizer: run.c needs the tokenizer.bin that the model was trained with")
        return [output]
    _say_wrote(tokenizer, f"{len(vocabulary)} pieces")
    if vocabulary.byte_base != _RUN_C_BYTES:
        say(f"run.c uses pieces {_RUN_C_BYTES} to {_RUN_C_BYTES + 255} for bytes; this tokenizer uses other pieces,")
        say("  so that run.c will misread letters that have no piece")
    program = {0: "run", 2: "runq"}.get(header.version)
    if program is not None:
        say(f'next: ./{program} {output} -z {tokenizer} -i "Once upon a time"')
    return [output, tokenizer]


def _pt(checkpoint: Checkpoint, asked: _Asked) -> Sequence[Path]:
    try:
        from llgen.trainer.llama2c_checkpoint import write_llama2c_checkpoint
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise needs_torch("writing a PyTorch file") from error
    write_llama2c_checkpoint(checkpoint, asked.output)
    _say_wrote(asked.output, "a llama2.c training checkpoint, without an optimizer")
    say(f"next, in llama2.c: python sample.py --checkpoint={asked.output}")
    return [asked.output]


def _say_wrote(path: Path, what: str) -> None:
    say(f"wrote {path}: {what}, {path.stat().st_size:,} bytes")


_WRITERS = {"huggingface": _huggingface, "gguf": _gguf, "llama2c": _llama2c, "pt": _pt}
