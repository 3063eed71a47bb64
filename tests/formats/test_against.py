"""`llgen check --against transformers`, and `source.json`, by which it knows the original again."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import Command
from models import ODD, SCALINGS, random_checkpoint, trained_vocabulary

from llgen.codegen.check import against
from llgen.codegen.check.against import TEXTS, Other, compare, open_with_llama_cpp
from llgen.codegen.formats.gguf.read import read_gguf
from llgen.codegen.formats.gguf.write import write_gguf
from llgen.codegen.formats.hf.directory import load_checkpoint, save_checkpoint
from llgen.codegen.formats.llama2c.write import write_llama2c
from llgen.codegen.model.checkpoint import Checkpoint
from llgen.codegen.model.rope import RopeScaling
from llgen.errors import LlgenError
from llgen.trainer.transformers_oracle import open_with_transformers

pytestmark = pytest.mark.filterwarnings("ignore")  # what transformers warns of is none of ours

TOKENS = [1, 5, 80, 300, 7, 2, 33]
SMALL = replace(ODD, max_seq_len=16)
# Heads of 32 and rows of 64: llama.cpp has no narrower ones, and Q8_0 has blocks of 32.
WIDE = replace(ODD, dim=64, hidden_dim=96, n_heads=2, n_kv_heads=1, head_dim=32, max_seq_len=16)


def saved(directory: Path, checkpoint: Checkpoint) -> Path:
    save_checkpoint(checkpoint, directory)
    return directory


# --------------------------------------------------------------------------------------------------------- oracles


def test_a_directory_that_transformers_reads_alike_agrees(tmp_path: Path) -> None:
    directory = saved(tmp_path / "model", random_checkpoint(SMALL))
    agreement = compare(load_checkpoint(directory), open_with_transformers(directory), TOKENS)
    assert agreement.holds
    assert agreement.logits.max_difference < 2e-5
    assert agreement.logits.top1 == 1.0
    assert agreement.texts == 0


def test_a_tokenizer_model_alone_is_read_alike_and_it_is_said_by_which_class(tmp_path: Path) -> None:
    vocabulary = trained_vocabulary()
    checkpoint = random_checkpoint(replace(SMALL, vocab_size=len(vocabulary)), vocabulary=vocabulary)
    directory = saved(tmp_path / "model", checkpoint)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (directory / name).unlink(missing_ok=True)
    agreement = compare(load_checkpoint(directory), open_with_transformers(directory), TOKENS)
    assert agreement.holds
    assert agreement.texts == len(TEXTS)
    assert len(agreement.different) < 8  # spaces that the tokenizer folds and LlamaTokenizer keeps
    assert "LlamaTokenizer" in agreement.remark


def test_one_wrong_weight_is_found(tmp_path: Path) -> None:
    checkpoint = random_checkpoint(SMALL)
    other = open_with_transformers(saved(tmp_path / "model", checkpoint))
    wrong = dict(checkpoint.tensors)
    wrong["model.layers.0.self_attn.k_proj.weight"] = wrong["model.layers.0.self_attn.k_proj.weight"] * np.float32(1.01)
    agreement = compare(replace(checkpoint, tensors=wrong), other, TOKENS)
    assert not agreement.holds
    assert agreement.logits.max_difference > 1e-4


def test_another_id_is_found_and_folded_spaces_are_told_apart() -> None:
    vocabulary = trained_vocabulary()
    checkpoint = random_checkpoint(replace(SMALL, vocab_size=len(vocabulary)), vocabulary=vocabulary)
    logits = compare(checkpoint, Other("x", lambda tokens: np.zeros((7, len(vocabulary)), np.float32), None), TOKENS)
    assert not logits.holds
    right = replace_logits(checkpoint)
    spaced = compare(checkpoint, replace(right, ids=lambda text: vocabulary.encode(text + "x" * (text == " "))), TOKENS)
    assert [text.text for text in spaced.different] == [" "]
    assert spaced.holds
    wrong = compare(checkpoint, replace(right, ids=lambda text: vocabulary.encode(text + "x" * (text == "a"))), TOKENS)
    assert [text.text for text in wrong.different] == ["a"]
    assert not wrong.holds


def replace_logits(checkpoint: Checkpoint) -> Other:
    from interleaved import reference_logits

    return Other("x", lambda tokens: reference_logits(checkpoint, tokens), None)


@pytest.mark.parametrize("kind", ["f32", "f16", "q8_0", "q4_0"])
def test_a_gguf_file_that_transformers_reads_alike_agrees(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("accelerate", reason="accelerate is not installed")
    vocabulary = trained_vocabulary(remove_extra_whitespaces=False)
    config = replace(WIDE, vocab_size=len(vocabulary))
    write_gguf(random_checkpoint(config, vocabulary=vocabulary), tmp_path / "model.gguf", kind)
    checkpoint = read_gguf(tmp_path / "model.gguf", None)
    other = open_with_transformers(tmp_path / "model.gguf")
    agreement = compare(checkpoint, other, TOKENS)
    assert agreement.holds
    assert agreement.texts > 20


OTHERS: list[dict[str, Any]] = [
    {"head_dim": 16},
    {"rope_theta": 1e4, "head_dim": 48},
    {"norm_eps": 0.1},
    {"tied": True},
    {"n_kv_heads": 2},
    {"n_layers": 2},
]


@pytest.mark.parametrize("changed", OTHERS, ids=str)
def test_every_dimension_of_a_gguf_file_is_read_as_transformers_does(changed: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("accelerate", reason="accelerate is not installed")
    write_gguf(random_checkpoint(replace(WIDE, **changed)), tmp_path / "model.gguf", "f32")
    checkpoint = read_gguf(tmp_path / "model.gguf", None)
    assert compare(checkpoint, open_with_transformers(tmp_path / "model.gguf", ids=False), TOKENS).holds


def test_a_gguf_file_without_a_tokenizer_is_compared_by_its_logits(llgen: Command, tmp_path: Path) -> None:
    pytest.importorskip("accelerate", reason="accelerate is not installed")
    write_gguf(random_checkpoint(WIDE), tmp_path / "model.gguf", "q8_0")
    assert llgen("import", tmp_path / "model.gguf", "-o", tmp_path / "model")[0] == 0
    check = ("check", tmp_path / "model", "--positions", 4, "--no-torch", "--against", "transformers", "--source")
    code, out, _ = llgen(*check, tmp_path / "model.gguf")
    assert code == 0
    assert "no ids compared: the model has no tokenizer" in out


@pytest.mark.parametrize("scaling", SCALINGS.values(), ids=SCALINGS)
def test_a_scaled_rotation_agrees_past_its_original_context(
    scaling: RopeScaling, llgen: Command, tmp_path: Path
) -> None:
    config = replace(WIDE, head_dim=6, max_seq_len=64, rope_scaling=scaling)
    write_gguf(random_checkpoint(config), tmp_path / "model.gguf", "f32")
    code, out, _ = llgen("import", tmp_path / "model.gguf", "-o", tmp_path / "model", "--json")
    assert code == 0
    assert json.loads(out)["config"]["rope_scaling"]["rope_type"] in ("linear", "yarn", "longrope")
    check = ("check", tmp_path / "model", "--positions", 48, "--no-torch", "--against", "transformers")
    code, out, _ = llgen(*check)
    assert code == 0, out


def test_transformers_is_not_asked_about_a_scaled_gguf(llgen: Command, tmp_path: Path) -> None:
    """It ignores the scaling of a Llama, without a word."""
    pytest.importorskip("accelerate", reason="accelerate is not installed")
    path, config = tmp_path / "model.gguf", replace(WIDE, head_dim=6, rope_scaling=SCALINGS["linear"])
    write_gguf(random_checkpoint(config), path, "f16")
    theirs = open_with_transformers(path, ids=False)
    assert compare(read_gguf(path, None), theirs, TOKENS).logits.max_difference > 1e-2
    assert llgen("import", path, "-o", tmp_path / "model")[0] == 0
    check = ("check", tmp_path / "model", "--positions", 4, "--no-torch", "--against", "transformers", "--source")
    code, _, err = llgen(*check, path)
    assert code == 1
    assert "transformers ignores the RoPE scaling in a GGUF" in err


def test_a_gguf_file_that_llama_cpp_reads_alike_agrees(tmp_path: Path) -> None:
    pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed")
    vocabulary = trained_vocabulary(remove_extra_whitespaces=False)
    checkpoint = random_checkpoint(replace(WIDE, vocab_size=len(vocabulary)), vocabulary=vocabulary)
    write_gguf(checkpoint, tmp_path / "model.gguf", "f32")
    agreement = compare(checkpoint, open_with_llama_cpp(tmp_path / "model.gguf", 16), TOKENS)
    assert agreement.holds
    assert agreement.texts > 20


def test_a_tensor_that_transformers_would_make_up_is_an_error(tmp_path: Path) -> None:
    directory = saved(tmp_path / "model", random_checkpoint(SMALL))
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps(config | {"num_hidden_layers": SMALL.n_layers + 1}))
    with pytest.raises(LlgenError, match=r"finds no model\.layers\.\d\..* and would fill it"):
        open_with_transformers(directory)


def test_what_transformers_cannot_read_is_one_line(tmp_path: Path) -> None:
    directory = saved(tmp_path / "model", random_checkpoint(SMALL))
    (directory / "model.safetensors").write_bytes(b"\0" * 64)
    with pytest.raises(LlgenError, match=r"^transformers [\d.]+ cannot read '.*': [^\n]+$"):
        open_with_transformers(directory)


# ------------------------------------------------------------------------------------------------------- source.json


def test_import_keeps_digests_of_its_source_and_no_path(llgen: Command, tmp_path: Path) -> None:
    write_gguf(random_checkpoint(WIDE), tmp_path / "m.gguf", "f32")
    for name in ("one", "two"):
        assert llgen("import", tmp_path / "m.gguf", "-o", tmp_path / name)[0] == 0
    text = (tmp_path / "one" / "source.json").read_text()
    assert text == (tmp_path / "two" / "source.json").read_text()
    assert str(tmp_path) not in text
    told = json.loads(text)
    assert told["form"] == "gguf"
    assert told["tokenizer"] is None
    assert [entry["name"] for entry in told["files"]] == ["m.gguf"]
    assert told["files"][0]["bytes"] == (tmp_path / "m.gguf").stat().st_size


def test_a_model_of_another_origin_takes_the_source_away(llgen: Command, tmp_path: Path) -> None:
    write_gguf(random_checkpoint(WIDE), tmp_path / "m.gguf", "f32")
    assert llgen("import", tmp_path / "m.gguf", "-o", tmp_path / "model")[0] == 0
    save_checkpoint(random_checkpoint(SMALL), tmp_path / "model")
    assert not (tmp_path / "model" / "source.json").exists()


def test_check_compares_with_the_directory_and_with_its_source(llgen: Command, tmp_path: Path) -> None:
    original = saved(tmp_path / "original", random_checkpoint(SMALL))
    (original / "generation_config.json").write_text("{}")
    assert llgen("import", original, "-o", tmp_path / "model")[0] == 0
    common = ("check", tmp_path / "model", "--positions", 4, "--no-torch", "--against", "transformers")
    code, out, _ = llgen(*common, "--json", "--source", original)
    assert code == 0
    facts = json.loads(out)["transformers"]
    assert facts["equal"] is True
    assert facts["by"].startswith("transformers ")
    assert facts["max_difference"] <= facts["limit"] == 1e-4
    code, out, _ = llgen(*common, "--scheme", "q8")
    assert code == 0
    assert "on the same directory: largest difference of the float32 model, before rounding to q8," in out
    (original / "generation_config.json").write_text('{"a": 1}')
    code, out, err = llgen(*common, "--source", original)
    assert (code, out) == (1, "")
    assert "'generation_config.json' in " in err
    assert "is not what " in err


def test_check_fails_when_transformers_computes_something_else(
    llgen: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = saved(tmp_path / "model", random_checkpoint(SMALL))
    other = saved(tmp_path / "other", random_checkpoint(SMALL, seed=5))
    wrong = open_with_transformers(other)
    monkeypatch.setattr("llgen.trainer.transformers_oracle.open_with_transformers", lambda path, ids: wrong)
    code, out, _ = llgen("check", directory, "--positions", 4, "--no-torch", "--against", "transformers")
    assert code == 4
    assert "DIFFERS, the limit is 1e-04: largest difference" in out


def with_tokenizer(directory: Path) -> Path:
    vocabulary = trained_vocabulary(remove_extra_whitespaces=False)
    checkpoint = random_checkpoint(replace(SMALL, vocab_size=len(vocabulary)), vocabulary=vocabulary)
    return saved(directory, checkpoint)


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    raw = json.loads(path.read_text())
    change(raw)
    path.write_text(json.dumps(raw))


def test_another_token_in_front_of_a_text_is_found_and_another_end_is_said(llgen: Command, tmp_path: Path) -> None:
    directory = with_tokenizer(tmp_path / "model")
    check = ("check", directory, "--positions", 4, "--no-torch", "--against", "transformers")
    assert json.loads(llgen(*check, "--json")[1])["transformers"]["different_tokens"] == []
    edit(directory / "generation_config.json", lambda raw: raw.update(eos_token_id=[2, 5]))
    edit(directory / "config.json", lambda raw: raw.update(eos_token_id=7))
    edit(directory / "tokenizer_config.json", lambda raw: raw.update(eos_token="<unk>"))
    code, out, _ = llgen(*check)
    assert code == 0
    assert "    not counted: a text ends at 2, 5, 0, 1 here, 2, 5 there\n" in out
    edit(directory / "tokenizer_config.json", lambda raw: raw.update(add_bos_token=False))
    edit(directory / "tokenizer.json", lambda raw: raw["post_processor"]["special_tokens"]["<s>"].update(ids=[2]))
    code, out, _ = llgen(*check, "--json")
    assert code == 4
    found = json.loads(out)["transformers"]
    assert found["equal"] is False
    begins = {"what": "begins with", "ours": [], "theirs": [2], "counts": True}
    assert found["different_tokens"][0] == begins
    assert "    DIFFERS: a text begins with no token here, 2 there\n" in llgen(*check)[1]


def test_one_merge_of_a_tokenizer_json_that_differs_is_found(llgen: Command, tmp_path: Path) -> None:
    directory = with_tokenizer(tmp_path / "model")
    edit(directory / "tokenizer.json", lambda raw: raw["model"]["merges"].remove(["▁", "a"]))
    code, out, _ = llgen(*("check", directory, "--positions", 4, "--no-torch", "--against", "transformers", "--json"))
    assert code == 4
    found = json.loads(out)["transformers"]
    assert found["equal"] is False
    assert found["max_difference"] <= found["limit"]
    assert found["different_ids"]
    assert all(text["ours"] != text["theirs"] for text in found["different_ids"])


def test_a_source_that_is_not_the_one_is_refused(llgen: Command, tmp_path: Path) -> None:
    checkpoint = random_checkpoint(WIDE)
    write_gguf(checkpoint, tmp_path / "m.gguf", "f32")
    write_gguf(checkpoint, tmp_path / "other.gguf", "f16")
    write_llama2c(replace(random_checkpoint(replace(WIDE, norm_eps=1e-5, rope_theta=1e4))), tmp_path / "m.bin", 0, 32)
    assert llgen("import", tmp_path / "m.gguf", "-o", tmp_path / "model")[0] == 0
    check = ("check", tmp_path / "model", "--source")
    code, _, err = llgen(*check, tmp_path / "m.gguf")
    assert (code, "--source is for --against" in err) == (2, True)
    code, _, err = llgen(*check, tmp_path / "other.gguf", "--against", "transformers")
    assert code == 1
    assert "'other.gguf' in " in err
    assert "its SHA-256 begins with" in err
    code, _, err = llgen(*check, tmp_path / "m.bin", "--against", "transformers")
    assert (code, "is a llama2.c checkpoint, which transformers does not read" in err) == (2, True)
    (tmp_path / "model" / "source.json").unlink()
    code, _, err = llgen(*check, tmp_path / "m.gguf", "--against", "transformers")
    assert (code, "has no source.json" in err) == (1, True)


def test_a_missing_extra_is_named_before_anything_is_compiled(
    llgen: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = saved(tmp_path / "model", random_checkpoint(SMALL))
    monkeypatch.setattr(against, "find_spec", lambda name: None if name == "transformers" else object())
    code, out, err = llgen("check", directory, "--against", "transformers")
    assert (code, out) == (1, "")
    assert "--against transformers needs transformers, which is not installed" in err
    assert "try: pip install 'llgen[verify]'" in err


def test_integers_alone_are_not_compared(llgen: Command, tmp_path: Path) -> None:
    directory = saved(tmp_path / "model", random_checkpoint(SMALL))
    assert llgen("quantize", directory, "--scheme", "q8", "-o", tmp_path / "q8")[0] == 0
    code, _, err = llgen("check", tmp_path / "q8", "--against", "transformers")
    assert (code, "holds integers, which transformers does not read" in err) == (2, True)
