"""Options that several commands share, and how they speak to a person."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console

from llgen.codegen.errors import LlgenError, UsageError
from llgen.codegen.extras import Extras
from llgen.codegen.fold import SCHEMES
from llgen.codegen.prompt import read_prompt
from llgen.codegen.quantize import CACHES, QuantModel
from llgen.codegen.speculation import MOST_DRAFTS

_Command = TypeVar("_Command", bound=Callable[..., Any])

model_argument = click.argument("model", type=click.Path(path_type=Path))
scheme_option = click.option("--scheme", type=click.Choice(SCHEMES), help="Number format.  [default: the model's]")
kv_option = click.option("--kv", type=click.Choice(CACHES), help="Format of keys and values.  [default: the scheme's]")
context_option = click.option(
    "--context", type=click.IntRange(min=1), help="Positions to build for.  [default: the model's]"
)
_PREFILL = 128
prefill_option = click.option(
    "--prefill", type=click.IntRange(min=0), help=f"Tokens of the prompt; 0: none.  [default: {_PREFILL}, or what fits]"
)
target_option = click.option(
    "--target", default="host", show_default=True, help="Target name, or a TOML file of facts."
)
bake_prompt_option = click.option(
    "--bake-prompt",
    type=click.Path(path_type=Path),
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
    help="Evaluate up to N tokens ahead where text repeats itself: the same text, sometimes sooner, for more RAM.",
)
tuning_option = click.option(
    "--tuning",
    type=click.Path(path_type=Path),
    help="Sizes of blocks and tiles that `llgen tune` found, in place of the usual ones.",
)
field_option = click.option("--field", help="The field of JSON lines that holds the text.  [default: text]")
separator_option = click.option("--separator", help='A line that parts two documents; "line": each line is one.')
json_option = click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON on standard output.")


def chosen_extras(model: QuantModel, bake_prompt: Path | None, drafts: int) -> Extras:
    """What the options ask of a program beside the model. Raises LlgenError as `read_prompt` does."""
    return Extras(prompt=None if bake_prompt is None else read_prompt(model, bake_prompt), drafts=drafts)


def say(text: str) -> None:
    """A line for a person: standard error, so that standard output holds answers alone."""
    click.echo(text, err=True)


def answer(value: dict[str, Any]) -> None:
    """The answer for a program."""
    click.echo(json.dumps(value))


def need_torch(what: str = "training") -> None:
    """Raise LlgenError where PyTorch, which not every user needs, is not installed; `what` needs it."""
    if not find_spec("torch"):
        raise LlgenError(f"{what} needs PyTorch, which is not installed", "pip install 'llgen[train]'")


@contextmanager
def spinner(first: str) -> Iterator[Callable[[str], None]]:
    """Show what is going on while it does; nothing where standard error is no terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda what: None
        return
    with console.status(first) as status:
        yield lambda what: status.update(what)


def kib(count: int) -> str:
    """Bytes for a person; in MiB or GiB from ten of these on."""
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20)):
        if count >= 10 * size:
            return f"{count:,} bytes ({count / size:.1f} {unit})"
    return f"{count:,} bytes ({count / 1024:.1f} KiB)"


def prompt_tokens(asked: int | None, context: int) -> int:
    """Tokens of a prompt that is measured: those asked for by `prefill_option`, else what is usual or fits."""
    return min(_PREFILL, context) if asked is None else asked


def require_positions(option: str, asked: int | None, room: int) -> None:
    """Raise UsageError when an option asks for more positions than the context has."""
    if asked is not None and asked > room:
        raise UsageError(f"{option} asks for {asked} positions; the context has {room}")


def list_option(*names: str, default: str | None = None, help: str) -> Callable[[_Command], _Command]:
    """An option of words with commas between, to be read by `listed`; giving it again adds to them."""

    def joined(context: click.Context, option: click.Parameter, texts: tuple[str, ...]) -> str | None:
        return ",".join(texts) if texts else None

    usual = None if default is None else (default,)
    return click.option(*names, multiple=True, default=usual, show_default=True, callback=joined, help=help)


def listed(option: str, text: str, known: Sequence[str] | None = None) -> tuple[str, ...]:
    """Words with commas between, each once; raises UsageError for none, and for one that is not `known`."""
    words = tuple(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
    if not words:
        raise UsageError(f"{option} is empty", f"words with commas between, of {', '.join(known)}" if known else None)
    for word in words:
        if known is not None and word not in known:
            raise UsageError(f"{option} has '{word}', which is none of {', '.join(known)}")
    return words
