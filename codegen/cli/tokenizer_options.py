"""Options of `llgen import` and `llgen export`: the tokenizer that a model is read with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from llgen.errors import UsageError

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)

_OPTIONS = (
    click.option(
        "--tokenizer",
        type=_FILE,
        help="tokenizer.model or tokenizer.json (SentencePiece), or tokenizer.bin (llama2.c), in place of the model's.",
    ),
    click.option("--no-tokenizer", is_flag=True, help="Read only the weights: input and output are token ids."),
    click.option(
        "--space-prefix/--no-space-prefix",
        default=None,
        help="For a tokenizer.bin: encode a text as if it began with a space, or as it is.  [default: with a space]",
    ),
)


def tokenizer_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command `tokenizer`, `no_tokenizer` and `space_prefix`."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def require_one_choice(tokenizer: Path | None, no_tokenizer: bool, space_prefix: bool | None) -> None:
    """Raise UsageError for options that exclude each other."""
    if tokenizer is not None and no_tokenizer:
        raise UsageError("--tokenizer and --no-tokenizer exclude each other", "give one of them")
    if tokenizer is None and space_prefix is not None:
        option = "--space-prefix" if space_prefix else "--no-space-prefix"
        raise UsageError(f"{option} is for a tokenizer.bin", "--tokenizer FILE")
