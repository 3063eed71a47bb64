"""Commands of llgen: in another process, and without the handling of errors that a person sees.

The fixture `llgen` of tests/conftest.py runs a command in the test's own process, as a person would see it.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import click
from click.testing import CliRunner, Result

Command = Callable[..., tuple[int, str, str]]
"""Takes the words of a command; returns its exit code, standard output and standard error."""
Answering = Callable[..., tuple[int, dict[str, Any], str]]
"""The same of a command with --json: the answer, or an empty dictionary, in place of standard output."""

LLGEN = [sys.executable, "-c", "from llgen.codegen.cli import main; main()"]
"""Begins a command line of another process."""
WITHOUT_TORCH = [
    sys.executable,
    "-c",
    "import sys; sys.modules['torch'] = None; import importlib.util as u; f = u.find_spec\n"
    "u.find_spec = lambda name, *rest: None if name == 'torch' else f(name, *rest)\n"
    "from llgen.codegen.cli import main; main()",
]
"""The same on a machine that has no PyTorch."""


def shell(
    *arguments: object, command: Sequence[str] = LLGEN, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run `llgen ARGUMENTS` in another process; options are those of subprocess.run."""
    return subprocess.run([*command, *map(str, arguments)], capture_output=True, text=True, check=False, **options)


def invoke(command: click.Command, *arguments: object) -> Result:
    """Run a click command in this process. Raises what it raises, LlgenError for one."""
    return CliRunner().invoke(command, [str(argument) for argument in arguments], catch_exceptions=False)


_SERVER = multiprocessing.get_context("forkserver") if sys.platform != "win32" else None


def start(log: Path, *arguments: object) -> BaseProcess:
    """Begin `llgen ARGUMENTS` as a process that starts at once, because a server has imported everything for it.

    What it says goes to a file. Its exit code is the process's.
    """
    assert _SERVER is not None
    _SERVER.set_forkserver_preload(["llgen.codegen.cli.build", "llgen.codegen.cli.main", "llgen.trainer.run"])
    process = _SERVER.Process(target=_run, args=(str(log), [str(word) for word in arguments]))
    process.start()
    return process


def _run(log: str, words: list[str]) -> None:
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    from llgen.codegen.cli.main import main

    sys.argv = ["llgen", *words]
    main()
