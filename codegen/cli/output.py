"""How commands answer: lines for a person on standard error, answers on standard output.

It imports no engine and no rich, so that the commands that only list something start quickly.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click

from llgen.shown import printable

json_option = click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON on standard output.")


def say(text: str) -> None:
    """Print a line for a person on standard error, so that standard output holds only answers."""
    click.echo(printable(text), err=True)


def answer(value: dict[str, Any]) -> None:
    """Print the answer for a program, as JSON on standard output."""
    click.echo(json.dumps(value))


@contextmanager
def spinner(first: str) -> Iterator[Callable[[str], None]]:
    """Show the current step on a terminal; nothing when standard error is not a terminal."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda what: None
        return
    with console.status(first) as status:
        yield lambda what: status.update(what)


def kib(count: int) -> str:
    """Bytes for a person, also in KiB; from 10 MiB on in MiB, from 10 GiB on in GiB."""
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20)):
        if count >= 10 * size:
            return f"{count:,} bytes ({count / size:.1f} {unit})"
    return f"{count:,} bytes ({count / 1024:.1f} KiB)"
