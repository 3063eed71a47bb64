"""A prompt that is baked into a program: its keys and values are computed here, once, and copied from flash there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .cache import Cache
from .errors import ExitCode, LlgenError, UsageError
from .quantize import QuantModel
from .reference import Reference


@dataclass(frozen=True, eq=False)
class Prompt:
    """The beginning of every conversation with a program."""

    tokens: tuple[int, ...]
    """The start token and those of the text; two at least."""
    caches: tuple[Cache, ...]
    """Of each layer, the keys and values of all tokens but the last, which the program evaluates for its logits."""

    @property
    def cached(self) -> int:
        """Positions whose keys and values are baked."""
        return len(self.tokens) - 1


def read_prompt(model: QuantModel, path: Path) -> Prompt:
    """Bake the text of a file, every byte of it.

    Raises LlgenError when the file cannot be read, is no UTF-8 or gives no tokens, or when its tokens leave no room in
    the context; UsageError when the model has no tokenizer.
    """
    if model.vocabulary is None:
        raise UsageError(f"'{model.name}' has no tokenizer, so it takes no prompt", "leave --bake-prompt out")
    try:
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        raise LlgenError(f"cannot read '{path}': {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise LlgenError(f"'{path}' is not UTF-8 at byte {error.start}", "save the prompt as UTF-8") from error
    tokens = model.vocabulary.encode(text)
    if not tokens:
        raise LlgenError(f"'{path}' holds no text that gives a token", "leave --bake-prompt out")
    return bake(model, [model.start_id, *tokens])


def bake(model: QuantModel, tokens: Sequence[int]) -> Prompt:
    """Compute the cache of a conversation's first tokens, bit for bit what the generated C would.

    Raises LlgenError as `require_room` does, and for an id outside of the vocabulary.
    """
    require_room(tokens, model.context)
    reference = Reference(model)
    reference.feed(tokens[:-1])
    return Prompt(tuple(tokens), tuple(reference.caches))


def require_room(tokens: Sequence[int], context: int) -> None:
    """Raise LlgenError (does not fit) when a prompt leaves no position of the context to write in."""
    if len(tokens) >= context:
        raise LlgenError(
            f"the prompt to bake has {len(tokens)} tokens, the start token among them, and needs a position more to "
            f"write in; the context has {context}",
            "shorten it, or build for a longer --context",
            ExitCode.DOES_NOT_FIT,
        )
