"""Shell completion of names that click does not know: targets, presets, settings and files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from llgen.targets.schema import load_target, target_names

Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def complete_path(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Let the shell complete the name of a file."""
    return [CompletionItem(incomplete, type="file")]


def complete_target(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Targets, and TOML files whose path begins with the typed text; without either, any file."""
    names = [CompletionItem("host", help="this machine")]
    names += [CompletionItem(name, help=load_target(name).description) for name in target_names()]
    found = [item for item in names if item.value.startswith(incomplete)]
    if incomplete:
        found += [CompletionItem(path, help="a file") for path in _toml_files(incomplete)]
    return found or complete_path(ctx, param, incomplete)


def complete_preset(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Presets of the trainer."""
    from llgen.trainer.layers import preset_names

    return _of(preset_names(), incomplete)


def complete_setting(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Keys of the trainer's settings, up to the equals sign."""
    from llgen.trainer.layers import known_keys

    return _of([f"{key}=" for key in known_keys()], incomplete)


def complete_names(names: Iterable[str]) -> Completer:
    """A completer of the given names."""
    known = list(names)
    return lambda ctx, param, incomplete: _of(known, incomplete)


def listing(complete: Completer) -> Completer:
    """Complete the last word of a list that is separated by commas."""

    def completed(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        before, comma, word = incomplete.rpartition(",")
        found = complete(ctx, param, word)
        return [CompletionItem(f"{before}{comma}{item.value}", item.type, item.help) for item in found]

    return completed


def _of(names: Sequence[str], incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def _toml_files(incomplete: str) -> list[str]:
    """TOML files whose path begins with the typed text; a text without a folder means the current folder."""
    folder, slash, start = incomplete.rpartition("/")
    try:
        names = sorted(path.name for path in Path(f"{folder}{slash}" or ".").glob("*.toml"))
    except OSError:
        return []
    return [f"{folder}{slash}{name}" for name in names if name.startswith(start)]
