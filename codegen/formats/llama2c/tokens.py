"""The special tokens of a llama2.c model. Its files name none; llama2.c's code uses 1 as BOS and stops at it."""

from __future__ import annotations

from collections.abc import Sequence

from ...model.config import ModelConfig
from ...model.text_tokens import BOS, EOS, Claim
from ...model.vocabulary import Vocabulary
from ..adopt import adopt, claim_of


def adopt_llama2c(
    config: ModelConfig, vocabulary: Vocabulary | None, said: Sequence[Claim] = ()
) -> tuple[ModelConfig, Vocabulary | None]:
    """Return a checkpoint's dimensions with its special tokens, and its tokenizer with a piece for each embedding row.

    `said` holds the claims of the tokenizer's file, besides its pieces.

    Raises LlgenError when the tokenizer is another model's.
    """
    if vocabulary is None:
        return adopt(config, None, model=[Claim("llama2.c", bos=BOS, ends=(EOS,))])
    return adopt(config, vocabulary, [*said, claim_of(vocabulary, "the tokenizer")], [Claim("llama2.c", bos=BOS)])
