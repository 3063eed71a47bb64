"""Model directories: they survive a round trip, and a malformed one is refused in words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llgen.codegen.formats.hf.directory import load_checkpoint, save_checkpoint
from llgen.codegen.model.architectures import tensor_shapes
from llgen.codegen.model.checkpoint import Checkpoint
from llgen.codegen.model.config import ModelConfig
from llgen.errors import LlgenError

YARN = {"type": "yarn", "factor": None}
CONFIG = ModelConfig(
    dim=4, hidden_dim=3, n_layers=1, n_heads=2, n_kv_heads=1, head_dim=2, vocab_size=5, max_seq_len=6, tied=False
)


@pytest.fixture
def checkpoint() -> Checkpoint:
    rng = np.random.default_rng(0)
    shapes = tensor_shapes(CONFIG).items()
    return Checkpoint("tiny", CONFIG, {name: rng.standard_normal(shape, np.float32) for name, shape in shapes}, None)


@pytest.fixture
def directory(checkpoint: Checkpoint, tmp_path: Path) -> Path:
    save_checkpoint(checkpoint, tmp_path / "tiny")
    return tmp_path / "tiny"


def test_round_trip(checkpoint: Checkpoint, directory: Path) -> None:
    loaded = load_checkpoint(directory)
    assert checkpoint.config == loaded.config
    assert checkpoint.sha256 == loaded.sha256


def change_config(directory: Path, **values: Any) -> None:
    path = directory / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("model_type", "gpt2", "model_type = 'gpt2'; llgen supports 'llama' only"),
        ("attention_bias", True, "attention_bias = True"),
        ("hidden_size", "4", "hidden_size = '4'; it must be an integer"),
        ("hidden_size", 10**30, "hidden_size is 1000000000000000000000000000000; it must be 1 to 65536"),
        ("num_attention_heads", 0, "num_attention_heads = 0; it must be at least 1"),
        ("rms_norm_eps", None, "rms_norm_eps = None; it must be a number"),
        ("rms_norm_eps", "1e-5", "rms_norm_eps = '1e-5'; it must be a number"),
        ("rms_norm_eps", float("nan"), "rms_norm_eps = nan; it must be a number"),
        ("rope_theta", 0, "rope_theta is 0.0; it must be above 1"),
        ("rope_theta", 10**400, "it must be a number"),
        ("rope_scaling", {"rope_type": "yarn"}, "rope_scaling of type 'yarn' without factor, which it needs"),
        ("rope_scaling", YARN | {"original_max_position_embeddings": 0}, "ings = 0; it must be an integer of 1 or mo"),
        ("rope_scaling", YARN | {"original_max_position_embeddings": 10**400}, "it must be an integer of 1 or more"),
        ("rope_scaling", YARN | {"mscale": 1, "mscale_all_dim": "1"}, "rope_scaling.mscale_all_dim = '1'; it must"),
        ("rope_scaling", {"type": "yarn", "factor": 2, "truncate": "yes"}, "truncate = 'yes'; it must be true or fal"),
        ("rope_scaling", {"type": "linear", "factor": float("nan")}, "rope_scaling.factor = nan; it must be a number"),
        ("rope_scaling", {"type": "dynamic"}, "of type 'dynamic': its angles depend on the length of the text; llgen"),
        ("rope_scaling", "yarn", "rope_scaling = 'yarn'; it must be a JSON object"),
        ("rope_parameters", [1], r"rope_parameters = \[1\]; it must be a JSON object"),
        ("tie_word_embeddings", "yes", "tie_word_embeddings = 'yes'; it must be true or false"),
    ],
)
def test_refuses_config_value(directory: Path, key: str, value: Any, message: str) -> None:
    change_config(directory, **{key: value})
    with pytest.raises(LlgenError, match=message):
        load_checkpoint(directory)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "[" * 100_000, '{"hidden_size": ' + "9" * 5000 + "}", "\xff"])
def test_refuses_text_that_is_no_config(directory: Path, text: str) -> None:
    (directory / "config.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(LlgenError, match=r"is not valid JSON|holds no JSON object"):
        load_checkpoint(directory)


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ("", "is not valid JSON"),
        ("{}", "has no weight_map"),
        ('{"weight_map": []}', "has no weight_map"),
        ('{"weight_map": {"a": 1}}', "has no weight_map"),
        ('{"weight_map": {"a": "../other.safetensors"}}', "is not a plain file of the same directory"),
        ('{"weight_map": {"a": "x\\u0000"}}', "is not a plain file of the same directory"),
        ('{"weight_map": {"a": ".."}}', "cannot read .*: Is a directory"),
        ('{"weight_map": {"a": "absent.safetensors"}}', "has no absent.safetensors"),
        ('{"weight_map": {}}', "is missing"),
    ],
)
def test_refuses_index_of_shards(directory: Path, index: str, message: str) -> None:
    (directory / "model.safetensors").unlink()
    (directory / "model.safetensors.index.json").write_text(index)
    with pytest.raises(LlgenError, match=message):
        load_checkpoint(directory)


@settings(max_examples=200)
@given(flips=st.lists(st.tuples(st.integers(0, 1200), st.integers(0, 7)), min_size=1, max_size=3))
def test_damaged_weights_load_or_are_refused(
    checkpoint: Checkpoint, tmp_path: Path, flips: list[tuple[int, int]]
) -> None:
    directory = tmp_path / "damaged"
    save_checkpoint(checkpoint, directory)
    path = directory / "model.safetensors"
    data = bytearray(path.read_bytes())
    for offset, bit in flips:
        data[offset % len(data)] ^= 1 << bit
    path.write_bytes(data)
    try:
        loaded = load_checkpoint(directory)
    except LlgenError:
        return
    assert checkpoint.config == loaded.config
