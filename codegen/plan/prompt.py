"""A prompt that is baked into a program: Python computes its keys and values, the program copies them from flash."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from llgen.errors import ExitCode, LlgenError, UsageError
from llgen.lfs import refuse_pointer_file

from ..quantise.quantize import QuantModel
from ..reference.cache import Cache
from ..reference.forward import Reference


@dataclass(frozen=True, eq=False)
class Prompt:
    """The beginning of every conversation with a program."""

    tokens: tuple[int, ...]
    """The start token, if the model has one, and the tokens of the text; at least two."""
    caches: tuple[Cache, ...]
    """For each layer, the keys and values of all tokens except the last, which the program evaluates for its logits."""

    @property
    def cached(self) -> int:
        """Positions whose keys and values are baked."""
        return len(self.tokens) - 1


def read_prompt(model: QuantModel, path: Path) -> Prompt:
    """Bake the text of a file, including every byte.

    Raises LlgenError when the file cannot be read, is not UTF-8 or gives no tokens, or when its tokens leave no room in
    the context; UsageError when the model has no tokenizer.
    """
    if model.vocabulary is None:
        raise UsageError(f"'{model.name}' has no tokenizer, so it takes no prompt", "leave --bake-prompt out")
    refuse_pointer_file(path)
    try:
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        raise LlgenError(f"cannot read '{path}': {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise LlgenError(f"'{path}' is not UTF-8 at byte {error.start}", "save the prompt as UTF-8") from error
    tokens = model.vocabulary.encode(text)
    if not tokens:
        raise LlgenError(f"'{path}' holds no text that gives a token", "leave --bake-prompt out")
    whole = [*model.config.lead, *tokens]
    if len(whole) < 2:
        raise LlgenError(f"'{path}' gives one token, and there is no other in front of it", "bake a longer prompt")
    return bake(model, whole)


def bake(model: QuantModel, tokens: Sequence[int]) -> Prompt:
    """Compute the cache of a conversation's first tokens, with the same bits as the generated C.

    Raises LlgenError as `require_room` does, and for an id outside of the vocabulary.
    """
    require_room(tokens, model.context)
    reference = Reference(model)
    reference.feed(tokens[:-1])
    return Prompt(tuple(tokens), tuple(reference.caches))


def require_room(tokens: Sequence[int], context: int) -> None:
    """Raise LlgenError (does not fit) when a prompt leaves no position of the context for new tokens."""
    if len(tokens) >= context:
        raise LlgenError(
            f"the prompt to bake has {len(tokens)} tokens, including the start token, and needs one more position for "
            f"new tokens; the context has {context}",
            "shorten it, or build for a longer --context",
            ExitCode.DOES_NOT_FIT,
            {"needed": len(tokens) + 1, "available": context},
        )
