"""How a command fails: a line and a next step on standard error; with --json, an object on standard output."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import IO, Any

import click

from llgen.errors import ExitCode, Fact, LlgenError
from llgen.shown import printable


class Failure(click.ClickException):
    """The error that ended a command."""

    def __init__(
        self,
        message: str,
        hint: str | None = None,
        exit_code: int = ExitCode.FAILED,
        facts: Mapping[str, Fact] | None = None,
    ) -> None:
        """`facts` are for programs alone: the values, limits and names that the message contains."""
        super().__init__(message)
        self.hint = hint
        self.exit_code = exit_code  # type: ignore[misc]  # a class variable for click, which reads it from the error
        self.facts = facts or {}

    def show(self, file: IO[Any] | None = None) -> None:
        """Tell a person what is wrong, and the next step."""
        click.echo(printable(f"llgen: {self.message}"), file=file, err=True)
        if self.hint:
            click.echo(printable(f"  try: {self.hint}"), file=file, err=True)

    def answer(self) -> None:
        """Print the same for a program, as JSON with the facts, under the one key `error`."""
        said = {"message": self.message, "hint": self.hint, "exit_code": int(self.exit_code)}
        click.echo(json.dumps({"error": {**said, **self.facts}}))


INTERRUPTED = Failure("interrupted", exit_code=ExitCode.INTERRUPTED)


def failure_of(error: LlgenError | OSError | click.ClickException) -> Failure:
    """The failure for an error of llgen, of the operating system or of click's parser."""
    if isinstance(error, LlgenError):
        return Failure(error.message, error.hint, error.exit_code, error.facts)
    if isinstance(error, OSError):
        where = f" '{error.filename}'" if error.filename else ""
        facts: dict[str, Fact] = {"file": str(error.filename)} if error.filename else {}
        return Failure(f"cannot read or write{where}: {error.strerror or error}", facts=facts)
    context = error.ctx if isinstance(error, click.UsageError) else None
    hint = None if context is None else f"{context.command_path} --help"
    text = " ".join(error.format_message().split()).removesuffix(".")
    return Failure(text[:1].lower() + text[1:], hint, error.exit_code, _facts(error))


def wants_json(words: Sequence[str]) -> bool:
    """Whether a command line asks for JSON. It reads the words itself, because click may have failed to parse them."""
    options = words[: words.index("--")] if "--" in words else words
    return "--json" in options


def _facts(error: click.ClickException) -> dict[str, Fact]:
    facts: dict[str, Fact] = {}
    if isinstance(error, click.NoSuchOption):
        facts |= {"option": error.option_name, "did_you_mean": list(error.possibilities or [])}
    parameter = error.param if isinstance(error, click.BadParameter) else None
    if parameter is None:
        return facts
    facts["parameter"] = parameter.opts[0] if isinstance(parameter, click.Option) else parameter.human_readable_name
    kind = parameter.type
    if isinstance(kind, click.IntRange | click.FloatRange):
        facts |= {"minimum": kind.min, "maximum": kind.max}
    elif isinstance(kind, click.Choice):
        facts["known"] = [str(choice) for choice in kind.choices]
    return facts
