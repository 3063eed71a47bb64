"""Reading and writing a model directory, in Hugging Face's Llama layout, as a Checkpoint.

A directory holds `config.json`, `model.safetensors` (or the shards that `model.safetensors.index.json` lists) and,
unless the model takes and gives only token ids, `tokenizer.model` (SentencePiece).
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from llgen.errors import LlgenError, closest, did_you_mean
from llgen.notices import notice
from llgen.paths import Pathlike
from llgen.whole import Content

from ...contract.numerics import Array
from ...model.architectures import tensor_shapes
from ...model.checkpoint import Checkpoint
from ...model.config import ModelConfig
from ...model.prefix import objection, plain_prefix
from ...model.text_tokens import Claim
from ...model.vocabulary import Vocabulary
from .added_tokens import FAST
from .companions import companions
from .config import config_from_hf, config_to_hf, named_precision
from .folder import CONFIG, write_model_directory
from .stream import float32_file
from .tokenizer_files import TOKENIZER, read_tokens
from .weights import NARROWER, SINGLE, Weights, read_json, read_weights

_RUN_FILE = "metrics.jsonl"
"""A file that every folder of a training run holds."""


def load_checkpoint(
    directory: Pathlike,
    tokenizer: Vocabulary | None = None,
    said: Sequence[Claim] = (),
    *,
    without_tokenizer: bool = False,
) -> Checkpoint:
    """Read a model directory. The result computes what transformers would; anything else is refused.

    `tokenizer`, or no tokenizer at all, replaces the directory's own; `said` holds the claims of the file that
    `tokenizer` came from, besides its pieces.

    Notices name what is ignored in the directory. Raises LlgenError when a file is missing, malformed, of another
    architecture, or contradicts the others.
    """
    directory = Path(directory)
    raw, config = _read_config(directory)
    stored = read_weights(directory)
    _say_rounding(directory, raw, stored)
    tensors = dict(stored.tensors)
    for name in [name for name in tensors if name.endswith("rotary_emb.inv_freq")]:
        del tensors[name]  # a table that older writers stored; it follows from rope_theta
    if config.tied:
        config = _untie_what_differs(config, tensors, directory)
    config, vocabulary = read_tokens(directory, raw, config, tokenizer, said, without_tokenizer=without_tokenizer)
    return Checkpoint(model_name(directory), config, tensors, vocabulary)


def model_name(directory: Path) -> str:
    """The name of a model: its folder's name; for RUN/model of a training run, the name of the run.

    When the run's name cannot be a C prefix, the model is called `model`.
    """
    folder = directory.resolve()
    run = folder.parent
    if folder.name != "model" or not (run / _RUN_FILE).exists():
        return folder.name
    return run.name if objection(plain_prefix(run.name)) is None else folder.name


def _say_rounding(directory: Path, raw: Mapping[str, Any], stored: Weights) -> None:
    named = named_precision(raw, directory / CONFIG)
    wider = stored.kinds & NARROWER.get(named or "", frozenset())
    if wider:
        notice(
            f"'{directory}' holds {' and '.join(sorted(wider))} numbers, and config.json names {named}: transformers"
            f" rounds them to {named} by default; llgen takes them as they are stored"
        )


def _untie_what_differs(config: ModelConfig, tensors: dict[str, Array], directory: Path) -> ModelConfig:
    """Share the embedding with the classifier, as transformers does, unless both are stored and differ."""
    embedding, classifier = tensors.get("model.embed_tokens.weight"), tensors.get("lm_head.weight")
    if classifier is None:
        return config
    if embedding is None:
        tensors["model.embed_tokens.weight"] = tensors.pop("lm_head.weight")
        return config
    if np.array_equal(embedding, classifier):
        del tensors["lm_head.weight"]  # some writers store the shared matrix twice
        return config
    notice(
        f"'{directory}' has tie_word_embeddings = true, and an lm_head.weight that differs from the embedding:"
        " llgen uses it, as transformers does, so that the two are not tied"
    )
    return replace(config, tied=False)


def _read_config(directory: Path) -> tuple[dict[str, Any], ModelConfig]:
    """The content of config.json, and the dimensions in it. Its only reader: it is parsed once."""
    path = directory / CONFIG
    if (directory / _RUN_FILE).exists():
        raise LlgenError(f"'{directory}' is a training run", f"its model: {directory / 'model'}")
    if (directory / "adapter_config.json").exists():
        raise LlgenError(
            f"'{directory}' holds an adapter (adapter_config.json), which is not merged into its weights",
            "merge the adapter into the weights, or remove its files",
        )
    if not path.exists():
        raise _no_model(directory)
    raw = read_json(path)
    return raw, config_from_hf(raw, path)


def _no_model(directory: Path) -> LlgenError:
    """The error for a path that is not a model directory: a file, another folder, or a path that does not exist."""
    if directory.is_file():
        return LlgenError(
            f"'{directory}' is a file, and a model is a directory",
            f"`llgen import {shlex.quote(str(directory))} -o DIR` makes one, if the file holds a model",
        )
    if directory.is_dir():
        return LlgenError(
            f"'{directory}' is not a model directory: it has no config.json",
            "`llgen import FILE -o DIR` makes one from a checkpoint file",
        )
    beside = [path.parent.name for path in directory.parent.glob(f"*/{CONFIG}")]
    return LlgenError(
        f"there is no model directory '{directory}'{did_you_mean(directory.name, beside)}",
        "`llgen import FILE -o DIR` makes one from a checkpoint file, `llgen train` from text",
        facts={"file": str(directory), "did_you_mean": closest(directory.name, beside)},
    )


def save_checkpoint(checkpoint: Checkpoint, directory: Pathlike, more: Mapping[str, bytes] | None = None) -> list[str]:
    """Write a model directory completely or not at all; returns the names of its files.

    `more` holds additional files, name to content.
    Raises LlgenError when `directory` holds files that llgen did not write, or a tokenizer that would be lost.
    """
    directory = Path(directory)
    if checkpoint.vocabulary is None:
        for name in (TOKENIZER, FAST):
            if (directory / name).exists():
                raise LlgenError(
                    f"'{directory}' holds a {name}, and this model would come without one",
                    "give --tokenizer, or choose another -o",
                )
    content: dict[str, Content] = {
        CONFIG: (json.dumps(config_to_hf(checkpoint.config), indent=2) + "\n").encode(),
        SINGLE: float32_file(checkpoint.tensors, tensor_shapes(checkpoint.config)),
        **companions(checkpoint.config, checkpoint.vocabulary),
        **(more or {}),
    }
    write_model_directory(directory, content)
    return list(content)
