"""The files of a model directory besides `config.json` and the weights: for generation, and for the tokenizer.

llgen itself reads `tokenizer.model`, SentencePiece's own file. The other files are for transformers and for programs
built on transformers or on `tokenizers`.
"""

from __future__ import annotations

import json
from typing import Any

from llgen.notices import notice

from ...model.byte_level import ByteLevel
from ...model.config import ModelConfig
from ...model.sentence_piece import SentencePiece
from ...model.vocabulary import Vocabulary
from .added_tokens import FAST
from .byte_level_json import byte_level_json
from .tokenizer_files import GENERATION_CONFIG, TOKENIZER, TOKENIZER_CONFIG
from .tokenizer_json import differences, tokenizer_json

COMPANIONS = (GENERATION_CONFIG, TOKENIZER, FAST, TOKENIZER_CONFIG)

MARK = "llgen"
"""`written_by` in generation_config.json, the first file that llgen moves into a model directory."""


def companions(config: ModelConfig, vocabulary: Vocabulary | None) -> dict[str, bytes]:
    """The contents, by name, of the COMPANIONS that a model has: without a tokenizer, only the first.

    A notice says when `tokenizer.json` cannot express everything that SentencePiece does.
    """
    files = {GENERATION_CONFIG: _packed(_generation_config(config, vocabulary))}
    if vocabulary is None:
        return files
    files[TOKENIZER_CONFIG] = _packed(_tokenizer_config(config, vocabulary))
    if isinstance(vocabulary, ByteLevel):
        return files | {FAST: byte_level_json(vocabulary, config.bos_id)}
    assert isinstance(vocabulary, SentencePiece)
    for reason in differences(vocabulary):
        notice(f"{FAST} gives some texts other ids than {TOKENIZER} does: the tokenizer has {reason}")
    return files | {TOKENIZER: vocabulary.proto, FAST: tokenizer_json(vocabulary, config.bos_id)}


def _generation_config(config: ModelConfig, vocabulary: Vocabulary | None) -> dict[str, Any]:
    """Tell other programs to stop at the tokens at which llgen stops, and not to choose what it never chooses."""
    padding = () if vocabulary is None else vocabulary.padding
    said = {
        "written_by": MARK,
        "bos_token_id": config.bos_id,
        "eos_token_id": list(config.end_ids) or None,
        "suppress_tokens": list(padding) or None,
    }
    return {key: value for key, value in said.items() if value is not None}


def _tokenizer_config(config: ModelConfig, vocabulary: Vocabulary) -> dict[str, Any]:
    """Name the class of transformers 4 and 5 that follows `tokenizer.json`; LlamaTokenizer has other rules.

    `split_special_tokens` has the effect of SentencePiece's rule: no text is encoded as a control piece.
    """

    def name(index: int | None) -> str | None:
        return None if index is None or index < 0 else vocabulary.pieces[index].text

    return {
        "add_bos_token": config.bos_id is not None,
        "add_eos_token": False,
        "bos_token": name(vocabulary.bos_id if config.bos_id is None else config.bos_id),
        "clean_up_tokenization_spaces": False,
        "eos_token": name(config.eos_id),
        "model_input_names": ["input_ids", "attention_mask"],  # transformers 4 would give its Llama token types, too
        "model_max_length": config.max_seq_len,
        "split_special_tokens": True,
        "tokenizer_class": "PreTrainedTokenizerFast",
        "unk_token": name(vocabulary.unknown_id),
    }


def _packed(values: dict[str, Any]) -> bytes:
    return (json.dumps(values, indent=2, ensure_ascii=False) + "\n").encode()
