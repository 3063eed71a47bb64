"""Which of a directory's weights count, as in transformers: tied or not, one file or shards; and what is said of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import Command
from models import ODD, random_checkpoint
from safetensors.numpy import load_file, save_file
from safetensors.torch import save_file as save_torch_file

from llgen.codegen.check.against import compare
from llgen.codegen.formats.hf.directory import load_checkpoint, save_checkpoint
from llgen.errors import LlgenError
from llgen.notices import gathered
from llgen.trainer.transformers_oracle import open_with_transformers

pytestmark = pytest.mark.filterwarnings("ignore")  # what transformers warns of is none of ours
Tensors = dict[str, Any]
Change = Callable[[Path, dict[str, Any], Tensors], None]

EMBEDDING, CLASSIFIER = "model.embed_tokens.weight", "lm_head.weight"
TOKENS = [1, 5, 80, 300, 7, 2, 33]
SMALL = replace(ODD, tied=True, max_seq_len=16)


def make(directory: Path, change: Change) -> Path:
    """A directory of a tied model, changed."""
    save_checkpoint(random_checkpoint(SMALL), directory)
    config = json.loads((directory / "config.json").read_text())
    tensors: Tensors = load_file(directory / "model.safetensors")
    change(directory, config, tensors)
    (directory / "config.json").write_text(json.dumps(config))
    if tensors:
        save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    return directory


def tied_but_different(directory: Path, config: dict[str, Any], tensors: Tensors) -> None:
    tensors[CLASSIFIER] = (tensors[EMBEDDING][::-1] * 1.5).copy()


def tied_and_same(directory: Path, config: dict[str, Any], tensors: Tensors) -> None:
    tensors[CLASSIFIER] = tensors[EMBEDDING].copy()


def tied_classifier_alone(directory: Path, config: dict[str, Any], tensors: Tensors) -> None:
    tensors[CLASSIFIER] = tensors.pop(EMBEDDING)


def untied_and_same(directory: Path, config: dict[str, Any], tensors: Tensors) -> None:
    tied_and_same(directory, config, tensors)
    config["tie_word_embeddings"] = False


def index_left_over(directory: Path, config: dict[str, Any], tensors: Tensors) -> None:
    shards = {name: f"model-0000{1 + at % 2}-of-00002.safetensors" for at, name in enumerate(sorted(tensors))}
    (directory / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": shards}))


def index_and_shards_left_over(directory: Path, config: dict[str, Any], tensors: Tensors) -> None:
    index_left_over(directory, config, tensors)
    shards = json.loads((directory / "model.safetensors.index.json").read_text())["weight_map"]
    for shard in set(shards.values()):
        part = {name: tensors[name] * np.float32(0.5) for name in tensors if shards[name] == shard}
        save_file(part, directory / shard, metadata={"format": "pt"})


def shards_alone(directory: Path, config: dict[str, Any], tensors: Tensors) -> None:
    index_and_shards_left_over(directory, config, tensors)
    (directory / "model.safetensors").unlink()
    tensors.clear()


def narrow_config(directory: Path, config: dict[str, Any], tensors: Tensors) -> None:
    config["dtype"] = config["torch_dtype"] = "bfloat16"


def one_added_token(directory: Path, config: dict[str, Any], tensors: Tensors) -> None:
    rows = tensors[EMBEDDING]
    tensors[EMBEDDING] = np.concatenate([rows, rows.mean(0, keepdims=True)])
    config["vocab_size"] = len(rows) + 1
    (directory / "added_tokens.json").write_text(json.dumps({"<pad>": len(rows)}))


def padded_rows(directory: Path, config: dict[str, Any], tensors: Tensors) -> None:
    rows = tensors[EMBEDDING]
    tensors[EMBEDDING] = np.concatenate([rows, np.zeros((64, rows.shape[1]), np.float32)])
    config["vocab_size"] = len(rows) + 64


JSON_LOADS = json.loads

CASES: dict[Change, tuple[bool, str]] = {
    tied_but_different: (
        False,
        "has tie_word_embeddings = true, and an lm_head.weight that differs from the embedding:"
        " llgen uses it, as transformers does, so that the two are not tied",
    ),
    tied_and_same: (True, ""),
    tied_classifier_alone: (True, ""),
    untied_and_same: (False, ""),
    index_left_over: (
        True,
        "model.safetensors.index.json' is left over and not read: model.safetensors has precedence, as in transformers",
    ),
    index_and_shards_left_over: (True, "model.safetensors.index.json' is left over and not read"),
    shards_alone: (True, ""),
    one_added_token: (True, ""),
    padded_rows: (True, ""),
    narrow_config: (
        True,
        "holds F32 numbers, and config.json names bfloat16: transformers rounds them to bfloat16 by default;"
        " llgen takes them as they are stored",
    ),
}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_weights_that_count_are_those_of_transformers_and_it_is_said(case: Change, tmp_path: Path) -> None:
    tied, said = CASES[case]
    directory = make(tmp_path / "model", case)
    with gathered() as notices:
        checkpoint = load_checkpoint(directory)
    assert tied == checkpoint.config.tied
    assert len(notices) == bool(said)
    assert said in "".join(notices)
    assert compare(checkpoint, open_with_transformers(directory), TOKENS).holds


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_numbers_of_the_type_that_config_names_are_not_spoken_of(kind: torch.dtype, tmp_path: Path) -> None:
    directory = make(tmp_path / "model", lambda folder, config, tensors: config.update(dtype=str(kind)[6:]))
    tensors = load_file(directory / "model.safetensors")
    save_torch_file(
        {name: torch.from_numpy(tensor).to(kind) for name, tensor in tensors.items()}, directory / "model.safetensors"
    )
    with gathered() as notices:
        load_checkpoint(directory)
    assert notices == []


def test_config_json_is_parsed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_checkpoint(random_checkpoint(), tmp_path / "model")
    parsed = []

    def loads(text: str, **options: Any) -> Any:
        value = JSON_LOADS(text, **options)
        parsed.append(value)
        return value

    monkeypatch.setattr(json, "loads", loads)
    load_checkpoint(tmp_path / "model")
    assert sum("hidden_size" in value for value in parsed) == 1


def test_a_tensor_of_two_shards_is_refused(tmp_path: Path) -> None:
    directory = make(tmp_path / "model", shards_alone)
    first, second = sorted(directory.glob("model-*.safetensors"))
    save_file(load_file(first) | load_file(second), second)
    with pytest.raises(LlgenError, match=r"00002-of-00002\.safetensors' has a tensor '.*' that another shard has, too"):
        load_checkpoint(directory)


def test_an_adapter_beside_the_weights_is_refused(tmp_path: Path) -> None:
    directory = make(tmp_path / "model", lambda *_: None)
    (directory / "adapter_config.json").write_text("{}")
    with pytest.raises(LlgenError, match="holds an adapter"):
        load_checkpoint(directory)


def test_what_does_not_count_is_said_once_by_a_command_and_told_to_programs(
    llgen: Command, tmp_path: Path
) -> None:
    directory = make(tmp_path / "model", tied_but_different)
    code, out, err = llgen("import", directory, "-o", tmp_path / "imported", "--json")
    assert code == 0
    assert err.count("llgen uses it, as transformers does, so that the two are not tied") == 1
    answer = json.loads(out)
    assert [notice for notice in answer["notices"] if "are not tied" in notice]
    assert answer["config"]["tied"] is False
    with gathered() as notices:
        assert not load_checkpoint(tmp_path / "imported").config.tied
    assert notices == []
