"""Command groups that load a command when it is used, and suggest a similar name for an unknown command."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click
from click.shell_completion import CompletionItem

from llgen.errors import unknown_name
from llgen.notices import told_to
from llgen.shown import printable


class CommandGroup(click.Group):
    """A group that suggests similar commands for a mistyped one, as llgen does for all unknown names."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        names = self.list_commands(ctx)
        if args[0] not in names and not args[0].startswith("-") and not ctx.resilient_parsing:
            raise unknown_name("command", args[0], names, f"`{ctx.command_path} --help` lists them")
        return super().resolve_command(ctx, args)


class ReaderGone(Exception):
    """The reader of standard output closed it. Click would report a plain BrokenPipeError as a failure."""


class LazyGroup(CommandGroup):
    """A group that imports a command when it is used, so that help and completion start quickly."""

    def __init__(self, *, lazy: Mapping[str, tuple[str, str]], **attributes: Any) -> None:
        """`lazy` maps a command's name to the module that defines it as `command`, and to its text in the help."""
        super().__init__(**attributes)
        self.lazy = lazy

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with told_to(lambda text: click.echo(printable(text), err=True)):
                result = super().invoke(ctx)
            if sys.stdout is not None:
                sys.stdout.flush()
            return result
        except BrokenPipeError as error:
            raise ReaderGone from error

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.lazy:
            return None
        command = import_module(self.lazy[cmd_name][0]).command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, says) for name, (_, says) in self.lazy.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        found = [
            CompletionItem(name, help=says) for name, (_, says) in self.lazy.items() if name.startswith(incomplete)
        ]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]


def silence_output() -> None:
    """Discard the buffered output of a reader that closed standard output."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
