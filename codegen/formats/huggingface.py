"""Write a Checkpoint as a Hugging Face directory with all that `transformers` looks for.

A model directory of llgen's is one already; what comes to it says how to generate and how to make the tokenizer.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..checkpoint import Checkpoint, save_checkpoint
from ..vocabulary import Vocabulary


def write_directory(checkpoint: Checkpoint, directory: Path) -> list[str]:
    """Write a directory, which appears whole or not at all; returns the names of its files.

    Raises LlgenError as `save_checkpoint` does.
    """
    config, vocabulary = checkpoint.config, checkpoint.vocabulary
    generation = {"_from_model_config": True, "bos_token_id": config.bos_id, "eos_token_id": config.eos_id}
    companions = {"generation_config.json": _packed(generation)}
    if vocabulary is not None:
        companions["tokenizer_config.json"] = _packed(_tokenizer_config(vocabulary, config.max_seq_len))
    save_checkpoint(checkpoint, directory, companions)
    return ["config.json", "model.safetensors", *(["tokenizer.model"] if vocabulary else []), *companions]


def _tokenizer_config(vocabulary: Vocabulary, max_seq_len: int) -> dict[str, Any]:
    def text(index: int) -> str | None:
        return None if index < 0 else vocabulary.pieces[index].text

    return {
        "add_bos_token": vocabulary.bos_id >= 0,
        "add_eos_token": False,
        "add_prefix_space": vocabulary.add_dummy_prefix,
        "bos_token": text(vocabulary.bos_id),
        "clean_up_tokenization_spaces": False,
        "eos_token": text(vocabulary.eos_id),
        "legacy": False,
        "model_max_length": max_seq_len,
        "tokenizer_class": "LlamaTokenizer",
        "unk_token": text(vocabulary.unknown_id),
    }


def _packed(values: dict[str, Any]) -> bytes:
    return (json.dumps(values, indent=2, ensure_ascii=False) + "\n").encode()
