"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import click

from llgen.errors import LlgenError, UsageError, closest, did_you_mean
from llgen.sole_writer import sole_writer, sole_writer_of_file

from ..plan.extras import Extras
from ..plan.prompt import read_prompt
from ..plan.speculation import MOST_DRAFTS
from ..quantise.fold import SCHEMES
from ..quantise.quantize import CACHES, QuantModel
from .completion import Completer, complete_target, listing

_Command = TypeVar("_Command", bound=Callable[..., Any])


class FilePath(click.Path):
    """A file or folder of the user. An empty name, such as an unset shell variable, is an error, not this folder."""

    def __init__(
        self, *, exists: bool = False, dir_okay: bool = True, path_type: type[Path] | type[str] = Path
    ) -> None:
        super().__init__(exists=exists, dir_okay=dir_okay, path_type=path_type)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("it is empty; give the name of a file or folder", param, ctx)
        return super().convert(value, param, ctx)


model_argument = click.argument("model", type=FilePath())
scheme_option = click.option("--scheme", type=click.Choice(SCHEMES), help="Number format.  [default: the model's]")
kv_option = click.option("--kv", type=click.Choice(CACHES), help="Format of keys and values.  [default: the scheme's]")
context_option = click.option(
    "--context", type=click.IntRange(min=1), help="Number of positions to build for.  [default: the model's]"
)
_PREFILL = 128
prefill_option = click.option(
    "--prefill",
    type=click.IntRange(min=0),
    help=f"Tokens of a prompt to measure; 0: none.  [default: {_PREFILL}, at most the context]",
)
target_option = click.option(
    "--target",
    default="host",
    show_default=True,
    shell_complete=complete_target,
    help="Target name, or a TOML file of facts.",
)
bake_prompt_option = click.option(
    "--bake-prompt",
    type=FilePath(),
    metavar="FILE",
    help="Begin every conversation with this text, whose keys and values are stored in flash.",
)
speculate_option = click.option(
    "--speculate",
    "drafts",
    type=click.IntRange(0, MOST_DRAFTS),
    default=0,
    show_default=True,
    metavar="N",
    help="Evaluate up to N tokens ahead where text repeats itself: the same text, sometimes faster, with more RAM.",
)
tuning_option = click.option(
    "--tuning",
    type=FilePath(),
    help="A file of block and tile sizes from `llgen tune`, in place of the default sizes.",
)
field_option = click.option("--field", help="The field of JSON lines that holds the text.  [default: text]")
separator_option = click.option("--separator", help='The line between two documents; "line": each line is a document.')


def chosen_extras(model: QuantModel, bake_prompt: Path | None, drafts: int) -> Extras:
    """The extra parts of a program that the options ask for. Raises LlgenError as `read_prompt` does."""
    return Extras(prompt=None if bake_prompt is None else read_prompt(model, bake_prompt), drafts=drafts)


def need_torch(what: str = "training") -> None:
    """Raise LlgenError when PyTorch is not installed; `what` names the feature that needs it."""
    if not find_spec("torch"):
        raise LlgenError(f"{what} needs PyTorch, which is not installed", "pip install 'llgen[train]'")


def take_folder(folder: Path) -> None:
    """Lock a folder against other llgen processes until the command ends. Raises LlgenError as `sole_writer` does."""
    click.get_current_context().with_resource(sole_writer(folder))


def take_file(path: Path) -> None:
    """As `take_folder`, for a single file."""
    click.get_current_context().with_resource(sole_writer_of_file(path))


def prompt_tokens(asked: int | None, context: int) -> int:
    """Tokens of a prompt to measure: the value of `prefill_option`, or else the default, at most the context."""
    return min(_PREFILL, context) if asked is None else asked


def require_positions(option: str, asked: int | None, room: int) -> None:
    """Raise UsageError when an option asks for more positions than the context has."""
    if asked is not None and asked > room:
        raise UsageError(
            f"{option} asks for {asked} positions; the context has {room}",
            facts={"parameter": option, "value": asked, "maximum": room},
        )


def list_option(
    *names: str, default: str | None = None, complete: Completer | None = None, help: str
) -> Callable[[_Command], _Command]:
    """An option of words separated by commas, for `listed`. Repeating the option adds words.

    `complete` offers single words to the shell.
    """

    def joined(context: click.Context, option: click.Parameter, texts: tuple[str, ...]) -> str | None:
        return ",".join(texts) if texts else None

    usual = None if default is None else (default,)
    words = None if complete is None else listing(complete)
    return click.option(
        *names, multiple=True, default=usual, show_default=True, callback=joined, shell_complete=words, help=help
    )


def listed(option: str, text: str, known: Sequence[str] | None = None) -> tuple[str, ...]:
    """Split words at commas, without duplicates. Raises UsageError for no word, and for a word that is not `known`."""
    words = tuple(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
    if not words:
        choice = f", of {', '.join(known)}" if known else ""
        raise UsageError(f"{option} is empty", f"words separated by commas{choice}")
    for word in words:
        if known is not None and word not in known:
            raise UsageError(
                f"{option} has '{word}', which is none of {', '.join(known)}{did_you_mean(word, known)}",
                facts={"parameter": option, "value": word, "did_you_mean": closest(word, known), "known": list(known)},
            )
    return words
