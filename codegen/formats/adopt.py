"""What a model takes over from the tokenizer that it is given."""

from __future__ import annotations

from dataclasses import replace

from ..config import ModelConfig
from ..errors import LlgenError
from ..vocabulary import Vocabulary


def adopt_tokens(config: ModelConfig, vocabulary: Vocabulary | None) -> ModelConfig:
    """Take BOS and EOS from a tokenizer, where it has them.

    Raises LlgenError when it is of another vocabulary size.
    """
    if vocabulary is None:
        return config
    if len(vocabulary) != config.vocab_size:
        raise LlgenError(
            f"the tokenizer holds {len(vocabulary)} pieces; the model has {config.vocab_size}",
            "give the tokenizer that the model was trained with",
        )
    return replace(
        config,
        bos_id=config.bos_id if vocabulary.bos_id < 0 else vocabulary.bos_id,
        eos_id=config.eos_id if vocabulary.eos_id < 0 else vocabulary.eos_id,
    )
