"""`transformers` itself on what llgen writes: its model's logits, its tokenizer's ids."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from interleaved import assert_close, reference_logits
from models import ODD, random_checkpoint, trained_vocabulary
from safetensors.numpy import load_file, save_file

from llgen.codegen.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from llgen.codegen.errors import LlgenError
from llgen.codegen.formats.detect import read_any
from llgen.codegen.formats.huggingface import write_directory

# What transformers warns of, as it is imported and used, is none of ours.
pytestmark = pytest.mark.filterwarnings("ignore")
Write = Callable[[Checkpoint, Path], object]


def transformers_logits(directory: Path, tokens: list[int]) -> npt.NDArray[np.float32]:
    from transformers import LlamaForCausalLM

    model = LlamaForCausalLM.from_pretrained(directory, local_files_only=True)
    with torch.no_grad():
        logits: npt.NDArray[np.float32] = model(torch.tensor([tokens])).logits[0].numpy()
    return logits


@pytest.mark.parametrize("write", [save_checkpoint, write_directory])
@pytest.mark.parametrize("changed", [{}, {"tied": True}, {"head_dim": 10, "n_kv_heads": 3, "n_layers": 2}])
def test_computes_the_same_logits(write: Write, changed: dict[str, int], tmp_path: Path) -> None:
    checkpoint = random_checkpoint(replace(ODD, **changed))  # type: ignore[arg-type]
    write(checkpoint, tmp_path / "model")
    tokens = [1, 5, 80, 300, 7, 2, 33]
    assert_close(reference_logits(checkpoint, tokens), transformers_logits(tmp_path / "model", tokens))


def test_real_model_computes_the_same_logits(shared: Path, tmp_path: Path) -> None:
    folder = shared / "models" / "stories260K"
    checkpoint = read_any(folder / "stories260K.bin", folder / "tok512.model")
    write_directory(checkpoint, tmp_path / "model")
    tokens = [1, 403, 407, 261, 378, 383, 286, 261, 376]
    assert_close(reference_logits(checkpoint, tokens), transformers_logits(tmp_path / "model", tokens))


@pytest.mark.parametrize("text", ["Once upon a time", "Käse, 中文 😀!\n", "a\tb", ""])
def test_encodes_as_the_tokenizer_does(text: str, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    vocabulary = trained_vocabulary()
    config = replace(ODD, vocab_size=len(vocabulary))
    write_directory(random_checkpoint(config, vocabulary=vocabulary), tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model", local_files_only=True)
    assert [1, *vocabulary.encode(text)] == tokenizer.encode(text)


def test_files_of_the_ecosystem(tmp_path: Path) -> None:
    vocabulary = trained_vocabulary()
    config = replace(ODD, vocab_size=len(vocabulary))
    checkpoint = random_checkpoint(config, vocabulary=vocabulary)
    names = write_directory(checkpoint, tmp_path / "model")
    assert sorted(names) == sorted(entry.name for entry in (tmp_path / "model").iterdir())
    read = {name: json.loads((tmp_path / "model" / name).read_text()) for name in names if name.endswith(".json")}
    told = {"architectures": ["LlamaForCausalLM"], "torch_dtype": "float32", "dtype": "float32", "head_dim": 6}
    told |= {"bos_token_id": 1, "eos_token_id": 2, "tie_word_embeddings": False, "rope_theta": 5000.0}
    assert told.items() <= read["config.json"].items()
    assert {"bos_token_id": 1, "eos_token_id": 2}.items() <= read["generation_config.json"].items()
    assert read["tokenizer_config.json"]["tokenizer_class"] == "LlamaTokenizer"
    assert read["tokenizer_config.json"]["bos_token"] == "<s>"
    before = {name: (tmp_path / "model" / name).read_bytes() for name in names}
    write_directory(checkpoint, tmp_path / "model")
    assert before == {name: (tmp_path / "model" / name).read_bytes() for name in names}
    assert checkpoint.sha256 == load_checkpoint(tmp_path / "model").sha256


def test_replaces_its_own_files_only(tmp_path: Path) -> None:
    (tmp_path / "diary.txt").write_text("today")
    with pytest.raises(LlgenError, match=r"holds 'diary\.txt', which is not llgen's to replace"):
        write_directory(random_checkpoint(), tmp_path)
    assert [tmp_path / "diary.txt"] == list(tmp_path.iterdir())


def test_reads_shards(tmp_path: Path) -> None:
    checkpoint = random_checkpoint()
    save_checkpoint(checkpoint, tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors").unlink()
    shards = {name: f"model-{index % 3 + 1:05}-of-00003.safetensors" for index, name in enumerate(sorted(tensors))}
    for shard in set(shards.values()):
        save_file({name: tensor for name, tensor in tensors.items() if shards[name] == shard}, tmp_path / shard)
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    assert checkpoint.sha256 == replace(load_checkpoint(tmp_path), name="odd").sha256


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        (
            "architectures",
            ["MistralForCausalLM"],
            r"architectures = \['MistralForCausalLM'\]; llgen supports 'LlamaFor",
        ),
        ("architectures", ["LlamaForSequenceClassification"], "LlamaForSequenceClassification"),
        ("architectures", "LlamaForCausalLM", "architectures = 'LlamaForCausalLM'"),
        ("hidden_size", [36], r"hidden_size = \[36\]; it must be a whole number"),
        ("eos_token_id", [], r"eos_token_id = \[\]; it must be a whole number"),
        ("eos_token_id", [301], "eos_id is 301; the vocabulary holds 0 to 300"),
    ],
)
def test_refuses_config_value(key: str, value: object, message: str, tmp_path: Path) -> None:
    save_checkpoint(random_checkpoint(), tmp_path)
    change_config(tmp_path, key, value)
    with pytest.raises(LlgenError, match=message):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize(("value", "eos"), [([7, 9], 7), (5, 5)])
def test_of_several_end_tokens_it_takes_the_first(value: object, eos: int, tmp_path: Path) -> None:
    save_checkpoint(random_checkpoint(), tmp_path)
    change_config(tmp_path, "eos_token_id", value)
    assert load_checkpoint(tmp_path).config.eos_id == eos


@pytest.mark.parametrize("value", [None, [], ["LLaMAForCausalLM"]])
def test_an_architecture_may_be_old_or_unsaid(value: object, tmp_path: Path) -> None:
    save_checkpoint(random_checkpoint(), tmp_path)
    change_config(tmp_path, "architectures", value)
    assert load_checkpoint(tmp_path).config == ODD


def change_config(directory: Path, key: str, value: object) -> None:
    path = directory / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
