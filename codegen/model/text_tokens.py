"""Which tokens begin and end a text: the same rule for every file format.

Files make claims about these tokens: the files of the tokenizer, and the files or the header that belong to the
weights. `settle` combines the claims by fixed rules:

- The tokenizer decides which token begins a text, and whether it is put in front at all; without its claim, the model
  decides.
- A text ends at the tokens that the model lists, and at those that the tokenizer calls an end. It also ends at the
  token that begins a text, because the next document begins with it, and at other tokens that the tokenizer calls a
  beginning.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from llgen.errors import LlgenError

from .config import ModelConfig

_MOST_TOLD = 8
"""Number of tokens that a remark names at most."""


@dataclass(frozen=True)
class Claim:
    """The claims of one file; None: the file has no such claim."""

    source: str
    """Name of the file, for messages."""
    bos: int | None = None
    """The token that begins a text."""
    adds_bos: bool | None = None
    """Whether that token is put in front of a text."""
    ends: tuple[int, ...] | None = None
    """The tokens that end a text, EOS first."""


BOS, EOS = 1, 2
"""Tokens of a Llama without any claim; transformers and llama2.c assume the same."""


@dataclass(frozen=True)
class Settled:
    """The tokens that begin and end a model's texts."""

    bos_id: int | None
    end_ids: tuple[int, ...]
    remarks: tuple[str, ...]
    """One line for each contradiction between claims."""

    def applied_to(self, config: ModelConfig) -> ModelConfig:
        """The same configuration with these tokens."""
        return replace(config, bos_id=self.bos_id, end_ids=self.end_ids)


def settle(
    tokenizer: Sequence[Claim], model: Sequence[Claim], rows: int, name: Callable[[int], str] = lambda token: ""
) -> Settled:
    """Combine the claims of a tokenizer and of a model; in both lists, earlier claims have precedence.

    `rows` is the number of tokens of the model; `name` returns a token's name for messages, or an empty text.
    Raises LlgenError when the model does not have the token that begins a text.
    """

    def told(tokens: Sequence[int]) -> str:
        named = [f"{token} '{name(token)}'" if name(token) else str(token) for token in tokens[:_MOST_TOLD]]
        if len(tokens) > _MOST_TOLD:
            return f"{', '.join(named)}, … ({len(tokens):,} in all)"
        return " and ".join(filter(None, (", ".join(named[:-1]), *named[-1:]))) or "none"

    claims = (*tokenizer, *model)
    begins = [(claim.source, claim.bos) for claim in claims if claim.bos is not None]
    source, first = begins[0] if begins else ("", None)
    silent = next((claim.source for claim in claims if claim.adds_bos is not None and not claim.adds_bos), None)
    adds = next((claim.adds_bos for claim in claims if claim.adds_bos is not None), True)
    bos = first if adds else None
    if bos is not None and not 0 <= bos < rows:
        raise LlgenError(
            f"{source} begins a text with token {bos}; the model has the tokens 0 to {rows - 1}",
            "give the tokenizer that the model was trained with",
        )
    remarks = [
        f"{other} begins a text with {told([token])}, {source} with {told([first or 0])}, which is what counts"
        for other, token in begins
        if token != first
    ]
    listing = next((claim for claim in model if claim.bos is not None), None)
    if not adds and listing is not None:
        remarks.append(f"{silent} puts no token in front of a text, though {listing.source} says what begins one")

    listed = [claim for claim in model if claim.ends is not None]
    known = [claim for claim in tokenizer if claim.ends is not None]
    named = dict.fromkeys(token for claim in (*listed[:1], *known) for token in claim.ends or ())
    named |= dict.fromkeys(claim.bos for claim in tokenizer if claim.bos is not None)
    wanted = [*(token for token in named if token != first), *([] if first is None else [first])]
    ends = tuple(token for token in wanted if 0 <= token < rows)
    absent = [token for token in wanted if not 0 <= token < rows]
    if len({frozenset(claim.ends or ()) - {first} for claim in (*listed, *known)}) > 1:
        each = ", ".join(f"{claim.source} with {told(claim.ends or ())}" for claim in (*listed, *known))
        remarks.append(f"what ends a text differs, {each}: llgen ends it with {told(ends)}")
    if absent:
        remarks.append(f"the model has the tokens 0 to {rows - 1}, so that {told(absent)} never ends a text")
    return Settled(bos, ends, tuple(remarks))
