"""llama2.c's training checkpoints: there and back, and that a pickle which would run code runs none."""

from __future__ import annotations

import os
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from interleaved import assert_close, interleaved_logits, reference_logits
from models import random_checkpoint, trained_vocabulary
from shapes import odd_configs

from llgen.codegen.formats.detect import Form, describe, detect, read_any
from llgen.codegen.model.config import ModelConfig
from llgen.errors import LlgenError
from llgen.trainer.llama2c_checkpoint import read_llama2c_checkpoint, write_llama2c_checkpoint

TOKENS = [1, 2, 0, 2]
SMALL = ModelConfig(
    dim=24, hidden_dim=68, n_layers=2, n_heads=4, n_kv_heads=2, head_dim=6, vocab_size=37, max_seq_len=9, tied=False
)
# llama2.c's names -> GGUF's, by which the other implementation knows weights.
NAMES = {
    "attention_norm": "attn_norm",
    "attention.wq": "attn_q",
    "attention.wk": "attn_k",
    "attention.wv": "attn_v",
    "attention.wo": "attn_output",
    "ffn_norm": "ffn_norm",
    "feed_forward.w1": "ffn_gate",
    "feed_forward.w2": "ffn_down",
    "feed_forward.w3": "ffn_up",
}
in_tmp_path = settings(max_examples=25)


def by_other_names(state: dict[str, torch.Tensor], config: ModelConfig) -> dict[str, np.ndarray]:
    outer = {"tok_embeddings": "token_embd", "norm": "output_norm", "output": "output"}
    found = {there: state[f"{here}.weight"].numpy() for here, there in outer.items()}
    for layer in range(config.n_layers):
        for here, there in NAMES.items():
            found[f"blk.{layer}.{there}"] = state[f"layers.{layer}.{here}.weight"].numpy()
    return found


@pytest.fixture
def saved(tmp_path: Path) -> dict[str, Any]:
    """A good checkpoint's contents, to be changed."""
    write_llama2c_checkpoint(random_checkpoint(SMALL), tmp_path / "good.pt")
    contents = torch.load(tmp_path / "good.pt", weights_only=True)
    assert isinstance(contents, dict)
    return contents


@in_tmp_path
@given(config=odd_configs(llama2c=True), eps=st.sampled_from([1e-5, 1e-6]), seed=st.integers(0, 9))
def test_round_trip(config: ModelConfig, eps: float, seed: int, tmp_path: Path) -> None:
    config = replace(config, norm_eps=eps)
    checkpoint, path = random_checkpoint(config, seed=seed), tmp_path / "model.pt"
    write_llama2c_checkpoint(checkpoint, path)
    again = read_llama2c_checkpoint(path, None)
    assert config == again.config
    for name, tensor in checkpoint.tensors.items():
        np.testing.assert_array_equal(again.tensors[name], tensor, err_msg=name)
    expected = reference_logits(checkpoint, TOKENS)
    np.testing.assert_array_equal(reference_logits(again, TOKENS), expected)
    state = torch.load(path, weights_only=True)["model"]
    assert_close(interleaved_logits(config, by_other_names(state, config), TOKENS), expected)


def test_holds_what_llama2c_looks_for(saved: dict[str, Any]) -> None:
    assert {"model", "model_args", "iter_num", "best_val_loss", "config"} == set(saved)
    args = {"dim": 24, "n_layers": 2, "n_heads": 4, "n_kv_heads": 2, "vocab_size": 37, "hidden_dim": 68}
    args |= {"multiple_of": 17, "norm_eps": 1e-5, "max_seq_len": 9, "dropout": 0.0}
    assert args == saved["model_args"]


@pytest.mark.parametrize("hidden", [170, 171, 172, 176, 192, 500, 169, 20])
@pytest.mark.parametrize("dim", [64])
def test_train_py_comes_upon_the_same_hidden_dim(dim: int, hidden: int, tmp_path: Path) -> None:
    config = replace(SMALL, dim=dim, head_dim=16, hidden_dim=hidden)
    write_llama2c_checkpoint(random_checkpoint(config), tmp_path / "model.pt")
    multiple = torch.load(tmp_path / "model.pt", weights_only=True)["model_args"]["multiple_of"]
    least = int(2 * (4 * dim) / 3)
    rounded = multiple * ((least + multiple - 1) // multiple)
    assert rounded == hidden if hidden >= least else multiple == 32


def test_a_tied_classifier_is_one_matrix_in_the_file(tmp_path: Path) -> None:
    checkpoint = random_checkpoint(replace(SMALL, tied=True))
    write_llama2c_checkpoint(checkpoint, tmp_path / "model.pt")
    state = torch.load(tmp_path / "model.pt", weights_only=True)["model"]
    assert state["output.weight"].data_ptr() == state["tok_embeddings.weight"].data_ptr()


def test_reads_what_train_py_saves(saved: dict[str, Any], tmp_path: Path) -> None:
    """Compiled, in bfloat16, with tables, an optimizer, a loss that is a tensor, and dimensions left to defaults."""
    state = {f"_orig_mod.{name}": tensor.bfloat16() for name, tensor in saved["model"].items()}
    turns = torch.outer(torch.arange(9), 10000.0 ** (-torch.arange(0, 6, 2) / 6))
    state |= {"freqs_cos": turns.cos().bfloat16(), "_orig_mod.freqs_sin": turns.sin()}
    state |= {"_orig_mod.layers.0.attention.mask": torch.ones(1, 1, 9, 9)}
    args = {key: value for key, value in saved["model_args"].items() if key not in ("norm_eps", "hidden_dim")}
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.ones(3))]).state_dict()
    more = {"optimizer": optimizer, "iter_num": 10, "best_val_loss": torch.tensor(1.5), "config": {"out_dir": "out"}}
    torch.save({"model": state, "model_args": args, **more}, tmp_path / "ckpt.pt")
    assert detect(tmp_path / "ckpt.pt") is Form.TORCH
    again = read_any(tmp_path / "ckpt.pt", None)
    assert again.config == SMALL
    for name, tensor in random_checkpoint(SMALL).tensors.items():
        np.testing.assert_allclose(again.tensors[name], tensor, rtol=2**-8)


def test_key_heads_unsaid_are_as_many_as_query_heads(tmp_path: Path) -> None:
    config = replace(SMALL, n_kv_heads=4)
    write_llama2c_checkpoint(random_checkpoint(config), tmp_path / "model.pt")
    saved = torch.load(tmp_path / "model.pt", weights_only=True)
    saved["model_args"]["n_kv_heads"] = None
    torch.save(saved, tmp_path / "model.pt")
    assert read_llama2c_checkpoint(tmp_path / "model.pt", None).config == config


def test_takes_a_tokenizer(tmp_path: Path) -> None:
    vocabulary = trained_vocabulary(bos_id=2, eos_id=1)
    write_llama2c_checkpoint(random_checkpoint(replace(SMALL, vocab_size=len(vocabulary))), tmp_path / "model.pt")
    (tmp_path / "t.model").write_bytes(vocabulary.proto)
    again = read_any(tmp_path / "model.pt", tmp_path / "t.model")
    assert (vocabulary, 2, 1) == (again.vocabulary, again.config.bos_id, again.config.eos_id)
    assert describe(tmp_path / "model.pt").text == "a llama2.c training checkpoint"


def test_same_bytes_each_time_and_no_path_inside(tmp_path: Path) -> None:
    files = tmp_path / "a.pt", tmp_path / "elsewhere" / "b.pt"
    for path in files:
        write_llama2c_checkpoint(random_checkpoint(SMALL), path)
    assert files[0].read_bytes() == files[1].read_bytes()
    assert str(tmp_path).encode() not in files[0].read_bytes()
    assert sorted(tmp_path.iterdir()) == [files[0], files[1].parent]


@pytest.mark.parametrize("changed", [{"rope_theta": 5000.0}, {"head_dim": 4}])
def test_refuses_what_llama2c_would_compute_otherwise(changed: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(LlgenError, match=r"llama2\.c"):
        write_llama2c_checkpoint(random_checkpoint(replace(SMALL, **changed)), tmp_path / "model.pt")
    assert not list(tmp_path.iterdir())


# ----------------------------------------------------------------------------------------------------- hostile files


class Trap:
    """Unpickled, it makes a directory."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("form", ["zip", "legacy", "pickle"])
def test_a_pickle_runs_nothing(form: str, saved: dict[str, Any], tmp_path: Path) -> None:
    sprung, path = tmp_path / "sprung", tmp_path / "model.pt"
    contents = saved | {"config": Trap(sprung)}
    if form == "pickle":
        path.write_bytes(pickle.dumps({"config": Trap(sprung)}, protocol=2))
    else:
        torch.save(contents, path, _use_new_zipfile_serialization=form == "zip")
    with pytest.raises(LlgenError) as refusal:
        read_any(path, None)
    assert not sprung.exists()
    assert "\n" not in refusal.value.message
    assert "weights_only" not in f"{refusal.value.message} {refusal.value.hint}"
    if form != "pickle":
        assert f"loading it would call {os.mkdir.__module__}.mkdir; llgen did not run it" in refusal.value.message

    # And the trap is one: whoever does unpickle it springs it.
    torch.load(path, weights_only=False) if form != "pickle" else pickle.loads(path.read_bytes())
    assert sprung.exists()


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_knows_a_pickle_of_any_age(protocol: int, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(pickle.dumps({"a": [1, 2, 3]}, protocol=protocol))
    assert detect(tmp_path / "x") is Form.TORCH


def drop(*keys: str) -> Any:
    def change(saved: dict[str, Any]) -> None:
        *path, last = keys
        for key in path:
            saved = saved[key]
        del saved[last]

    return change


def put(value: Any, *keys: str) -> Any:
    def change(saved: dict[str, Any]) -> None:
        *path, last = keys
        for key in path:
            saved = saved[key]
        saved[last] = value

    return change


W1 = "layers.0.feed_forward.w1.weight"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop("model"), "has no 'model' and 'model_args'"),
        (drop("model_args"), "has no 'model' and 'model_args'"),
        (drop("model_args", "dim"), "has model_args['dim'] = None; it must be an integer"),
        (put("24", "model_args", "dim"), "has model_args['dim'] = '24'"),
        (put(0, "model_args", "n_heads"), "dim is 24, which n_heads 0 does not divide"),
        (put(3, "model_args", "n_kv_heads"), "n_heads is 4, which n_kv_heads 3 does not divide"),
        (put("small", "model_args", "norm_eps"), "has model_args['norm_eps'] = 'small'"),
        (drop("model", W1), f"has no matrix '{W1}'"),
        (put(torch.ones(3), "model", W1), f"has no matrix '{W1}'"),
        (put([1.0], "model", W1), f"'{W1}' is not a tensor of floating-point numbers"),
        (put(torch.ones(68, 24, dtype=torch.int32), "model", W1), f"'{W1}' is not a tensor of floating-point numbers"),
        (put(torch.full((68, 24), torch.nan), "model", W1), "holds nan at element 0"),
        (put(torch.ones(68, 23), "model", W1), "has shape (68, 23); the config asks for (68, 24)"),
        (put(torch.ones(3, 3), "model", "layers.0.attention.lora"), "'layers.0.attention.lora', which llama2.c's"),
        (drop("model", "norm.weight"), "tensor 'model.norm.weight' is missing"),
        (put(5, "model_args", "n_layers"), "is missing from model"),
        (
            put(1e6, "model_args", "rope_theta"),
            "has model_args['rope_theta'] = 1000000.0, which llama2.c's model does not have",
        ),
        (
            put(torch.ones(9, 3), "model", "freqs_cos"),
            "table freqs_cos that differs from llama2.c's rotation, base 10000",
        ),
        (put(torch.ones(9, 3), "model", "_orig_mod.freqs_sin"), "has a table freqs_sin that differs from"),
    ],
)
def test_refuses(change: Any, message: str, saved: dict[str, Any], tmp_path: Path) -> None:
    change(saved)
    torch.save(saved, tmp_path / "model.pt")
    with pytest.raises(LlgenError) as refusal:
        read_any(tmp_path / "model.pt", None)
    assert message in refusal.value.message


def test_refuses_another_object(tmp_path: Path) -> None:
    torch.save([torch.ones(3)], tmp_path / "model.pt")
    with pytest.raises(LlgenError, match=r"holds a list, not the dictionary of a llama2\.c checkpoint"):
        read_any(tmp_path / "model.pt", None)


@in_tmp_path
@given(share=st.floats(0.01, 1.0, exclude_max=True))
def test_refuses_truncated_file(share: float, tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    write_llama2c_checkpoint(random_checkpoint(SMALL), path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    for read in (read_any, read_llama2c_checkpoint):
        with pytest.raises(LlgenError) as refusal:
            read(path, None)
        assert "\n" not in refusal.value.message
