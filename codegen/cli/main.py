"""The command group, and the one place where an error becomes a line on stderr and an exit code."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any

import click

from .. import __version__
from ..errors import ExitCode, LlgenError

# Command name -> module of this package that holds `command`; imported when used, so that `llgen --help` is instant
# and torch is imported by what needs it alone.
_COMMANDS = {
    "train": "train",
    "eval": "evaluate",
    "data": "data",
    "tokenizer": "tokenizer",
    "quantize": "quantize",
    "import": "importing",
    "export": "export",
    "inspect": "inspect",
    "build": "build",
    "run": "run",
    "check": "check",
    "bench": "bench",
    "tune": "tune",
    "targets": "targets",
    "demo": "demo",
    "doctor": "doctor",
}


class _ReaderGone(Exception):
    """Who read standard output has had enough. Click would make a failure of the plain BrokenPipeError."""


class _LazyGroup(click.Group):
    def invoke(self, ctx: click.Context) -> Any:
        try:
            result = super().invoke(ctx)
            if sys.stdout is not None:
                sys.stdout.flush()
            return result
        except BrokenPipeError as error:
            raise _ReaderGone from error

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        module = _COMMANDS.get(cmd_name)
        if module is None:
            return None
        command = import_module(f".{module}", __package__).command
        assert isinstance(command, click.Command)
        return command


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="llgen")
def group() -> None:
    """Small Llama language models as C for one target, with the same bits everywhere."""


def main() -> None:
    """Entry point of the `llgen` command."""
    try:
        code = group.main(prog_name="llgen", standalone_mode=False)
    except LlgenError as error:
        if os.environ.get("LLGEN_DEBUG") == "1":
            raise
        print(f"llgen: {error.message}", file=sys.stderr)
        if error.hint:
            print(f"  try: {error.hint}", file=sys.stderr)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort:
        sys.exit(ExitCode.INTERRUPTED)
    except _ReaderGone:  # `llgen run … | head` is no failure
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(ExitCode.DONE)
    except OSError as error:
        if os.environ.get("LLGEN_DEBUG") == "1":
            raise
        where = f" '{error.filename}'" if error.filename else ""
        print(f"llgen: cannot read or write{where}: {error.strerror or error}", file=sys.stderr)
        sys.exit(ExitCode.FAILED)
    sys.exit(code if isinstance(code, int) else ExitCode.DONE)
