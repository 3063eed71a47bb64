"""The box of tokens: which one begins a conversation, which ones end a text, which ones are never chosen."""

from __future__ import annotations

from dataclasses import dataclass

from ..model.config import ModelConfig
from ..quantise.padding import Padding
from .decisions import Decisions


@dataclass(frozen=True)
class Tokens:
    """Tokens and conditions on a `token`, in C."""

    start: str
    """The constant of the token that a conversation without a prompt begins with."""
    adds_start: bool
    """A prompt gets that token in front of it, too."""
    has_ends: bool
    """Some token ends a text."""
    end_test: str
    """The condition that `token` ends a text."""
    choices: str
    """The constant of how many tokens, from 0 on, may be chosen."""
    chosen_below: int
    """The value of that constant, where it is not the vocabulary's size."""
    has_padding: bool
    """The last rows are padding, which is never chosen."""
    has_holes: bool
    """There is padding before other tokens, too."""
    hole_test: str
    """The condition that `token` is padding before other tokens."""


def tokens(decided: Decisions) -> Tokens:
    """Fill the box."""
    config, upper = decided.model.config, decided.upper
    padding = Padding.of(decided.model)
    return Tokens(
        start=start_name(config, upper),
        adds_start=config.bos_id is not None,
        has_ends=bool(config.end_ids),
        end_test=_end_test(config, upper),
        choices=f"{upper}_VOCAB" if padding.last == config.vocab_size else "CHOICES",
        chosen_below=padding.last,
        has_padding=padding.last < config.vocab_size,
        has_holes=bool(padding.holes),
        hole_test=" || ".join(f"(token >= {hole.start} && token < {hole.stop})" for hole in padding.holes),
    )


def start_name(config: ModelConfig, upper: str) -> str:
    """The constant of the token that a conversation begins with: BOS, or START where texts begin without BOS."""
    return f"{upper}_START" if config.bos_id is None else f"{upper}_BOS"


def end_names(config: ModelConfig, upper: str) -> dict[str, int]:
    """The constants of the tokens that end a text, BOS excepted: EOS, EOS_2 and so on."""
    ends = [token for token in config.end_ids if token != config.bos_id] or list(config.end_ids)
    return {f"{upper}_EOS" + (f"_{index}" if index > 1 else ""): token for index, token in enumerate(ends, start=1)}


def _end_test(config: ModelConfig, upper: str) -> str:
    begins = [start_name(config, upper)] if config.bos_id in config.end_ids else []
    others = [name for name, token in end_names(config, upper).items() if token != config.bos_id]
    return " || ".join(f"token == {name}" for name in (*begins, *others))
