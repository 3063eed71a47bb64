"""The command group, and the only place where an error becomes a message on standard error and an exit code."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import click

from llgen.errors import ExitCode, LlgenError

from .. import __version__
from .failure import INTERRUPTED, Failure, failure_of, wants_json
from .group import LazyGroup, ReaderGone, silence_output

# Command -> module of this package that defines `command`, and its text in `llgen --help` and completion.
_COMMANDS = {
    "train": ("train", "train a model and its tokenizer on text, fine-tune one, distil one"),
    "data": ("data", "tokenise text once for many runs; download TinyStories"),
    "tokenizer": ("tokenizer", "train tokenizers, look at them, compare them by bytes per token and flash"),
    "eval": ("evaluate", "nats per token and per byte, perplexity; what a scheme costs"),
    "quantize": ("quantize", "4 to 8 bits per weight, by rounding, GPTQ or distillation"),
    "import": ("importing", "make a model directory from another tool's files"),
    "export": ("export", "write a model as another tool's files"),
    "build": ("build", "generate C, compile it, state flash, RAM and stack"),
    "run": ("run", "let the model write; only the text goes to standard output"),
    "check": ("check", "prove the compiled C equal to Python; exit 4 and the first differing tensor when it is not"),
    "bench": ("bench", "tokens per second compared with other engines, instructions per token in an emulator"),
    "tune": ("tune", "measure the best block and tile sizes, and write a file for `--tuning`"),
    "targets": ("targets", "list the targets, and whether their programs can run here"),
    "inspect": ("inspect", "print any stage of the pipeline"),
    "doctor": ("doctor", "show what is installed, what is missing, and the command that installs it"),
    "demo": ("demo", "train a small model, build it, run it and check it"),
}


@click.group(
    cls=LazyGroup,
    lazy={name: (f"{__package__}.{module}", says) for name, (module, says) in _COMMANDS.items()},
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="llgen")
def group() -> None:
    """Small Llama language models as C for one target, with the same bits everywhere."""


def main() -> None:
    """Entry point of the `llgen` command."""
    try:
        code = group.main(prog_name="llgen", standalone_mode=False)
    except ReaderGone:  # `llgen run … | head` is no failure
        silence_output()
        sys.exit(ExitCode.DONE)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort:
        _end(INTERRUPTED)
    except (LlgenError, OSError, click.ClickException) as error:
        if os.environ.get("LLGEN_DEBUG") == "1" and not isinstance(error, click.ClickException):
            raise
        _end(failure_of(error))
    sys.exit(code if isinstance(code, int) else ExitCode.DONE)


def _end(failure: Failure) -> NoReturn:
    """Tell a person and, with --json, a program what happened. A person who pressed Ctrl-C knows it."""
    if wants_json(sys.argv[1:]):
        failure.answer()
    if failure is not INTERRUPTED:
        failure.show()
    sys.exit(failure.exit_code)
