"""What a model takes from a tokenizer: a name for each embedding row, and the tokens that begin and end a text."""

from __future__ import annotations

from collections.abc import Sequence

from llgen.errors import LlgenError
from llgen.notices import notice
from llgen.shown import shown

from ..model.config import ModelConfig
from ..model.text_tokens import Claim, settle
from ..model.vocabulary import Vocabulary

_HINT = "give the tokenizer that the model was trained with, or import the model with --no-tokenizer"


def claim_of(vocabulary: Vocabulary, source: str) -> Claim:
    """The claim of a tokenizer about its own tokens, without the files beside it."""
    return Claim(
        source,
        bos=None if vocabulary.bos_id < 0 else vocabulary.bos_id,
        ends=None if vocabulary.eos_id < 0 else (vocabulary.eos_id,),
    )


def adopt(
    config: ModelConfig, vocabulary: Vocabulary | None, tokenizer: Sequence[Claim] = (), model: Sequence[Claim] = ()
) -> tuple[ModelConfig, Vocabulary | None]:
    """Return a model's dimensions with its special tokens, and its tokenizer with a piece for each embedding row.

    `tokenizer` and `model` are the claims of their files about the special tokens, as for `settle`. Notices tell where
    files disagree, and how many rows are padding.
    Raises LlgenError when the tokenizer belongs to another model, and as `settle` does.
    """
    fitting = None if vocabulary is None else _fitted(vocabulary, config.vocab_size)

    def name(token: int) -> str:
        return shown(fitting.pieces[token].text) if fitting is not None and 0 <= token < len(fitting) else ""

    settled = settle(tokenizer, model, config.vocab_size, name)
    for remark in settled.remarks:
        notice(remark)
    return settled.applied_to(config), fitting


def _fitted(vocabulary: Vocabulary, rows: int) -> Vocabulary:
    pieces = len(vocabulary)
    if not pieces <= rows <= 2 * pieces:
        raise LlgenError(f"the tokenizer holds {pieces} pieces; the model has {rows} tokens", _HINT)
    if pieces == rows:
        return vocabulary
    padded = vocabulary.padded(rows)
    named = padded.pieces[pieces].text, padded.pieces[-1].text
    notice(
        f"the model has {rows} rows and the tokenizer {pieces} pieces: the last {rows - pieces} are padding, "
        f"{named[0]} to {named[1]}; no text contains them, and llgen never chooses them"
    )
    return padded
