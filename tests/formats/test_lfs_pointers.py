"""A Git LFS pointer in the place of any file that llgen reads is told as such, with what fetches the file."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from models import ODD, random_checkpoint, trained_vocabulary

from llgen.codegen.formats.detect import describe, read_any, read_vocabulary
from llgen.codegen.formats.gguf.read import read_gguf, weight_types
from llgen.codegen.formats.hf.directory import load_checkpoint, save_checkpoint
from llgen.codegen.formats.llama2c.read import read_llama2c
from llgen.codegen.formats.llama2c.tokenizer import read_tokenizer_bin
from llgen.codegen.model.sentence_piece import SentencePiece
from llgen.codegen.model.vocabulary import Vocabulary
from llgen.codegen.plan.prompt import read_prompt
from llgen.codegen.plan.tuning import load_tuning
from llgen.codegen.quantise.quantize import quantized
from llgen.codegen.quantise.quantized import load_quantized, save_quantized
from llgen.errors import LlgenError
from llgen.targets.schema import load_target
from llgen.trainer.data import Source
from llgen.trainer.layers import read_config_file
from llgen.trainer.llama2c_checkpoint import read_llama2c_checkpoint

POINTER = (
    b"version https://git-lfs.github.com/spec/v1\n"
    b"oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n"
)


def require_told(read: Callable[[], object], path: Path) -> None:
    with pytest.raises(LlgenError) as refusal:
        read()
    assert f"'{path}' is a Git LFS pointer, not the file" == refusal.value.message
    assert refusal.value.hint == "git lfs pull"


@pytest.fixture
def pointer(tmp_path: Path) -> Path:
    path = tmp_path / "file.toml"  # whose ending a target's name needs, and nothing else looks at
    path.write_bytes(POINTER)
    return path


FILES: dict[str, Callable[[Path], object]] = {
    "import": lambda path: read_any(path, None),
    "summary": describe,
    "tokenizer": read_vocabulary,
    "tokenizer.model": SentencePiece.from_file,
    "tokenizer.bin": read_tokenizer_bin,
    "gguf": lambda path: read_gguf(path, None),
    "gguf types": weight_types,
    "llama2.c": lambda path: read_llama2c(path, None),
    "pt": lambda path: read_llama2c_checkpoint(path, None),
    "text": lambda path: list(Source(path).documents()),
    "json lines": lambda path: list(Source(path, field="text").documents()),
    "lines": lambda path: list(Source(path, separator="line").documents()),
    "tuning": load_tuning,
    "target": load_target,
    "training": read_config_file,
}


@pytest.mark.parametrize("read", FILES.values(), ids=FILES)
def test_a_pointer_in_place_of_a_file_is_told(read: Callable[[Path], object], pointer: Path) -> None:
    require_told(lambda: read(pointer), pointer)


def test_a_pointer_in_a_folder_of_texts_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("A text.")
    (tmp_path / "b.jsonl").write_bytes(POINTER)
    require_told(lambda: list(Source(tmp_path).documents()), tmp_path / "b.jsonl")


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return trained_vocabulary()


@pytest.fixture
def directory(vocabulary: Vocabulary, tmp_path: Path) -> Path:
    config = replace(ODD, vocab_size=len(vocabulary))
    save_checkpoint(random_checkpoint(config, vocabulary=vocabulary), tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize(
    "name",
    [
        "config.json",
        "model.safetensors",
        "tokenizer.model",
        "tokenizer_config.json",
        "generation_config.json",
        "added_tokens.json",
    ],
)
def test_a_pointer_within_a_directory_is_told(name: str, directory: Path) -> None:
    (directory / name).write_bytes(POINTER)
    require_told(lambda: load_checkpoint(directory), directory / name)


@pytest.mark.parametrize("name", ["model.safetensors.index.json", "model-1.safetensors"])
def test_a_pointer_among_shards_is_told(name: str, directory: Path) -> None:
    (directory / "model.safetensors").rename(directory / "model-1.safetensors")
    index = {"weight_map": {"model.norm.weight": "model-1.safetensors"}}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))
    (directory / name).write_bytes(POINTER)
    require_told(lambda: load_checkpoint(directory), directory / name)


@pytest.mark.parametrize("name", ["config.json", "quantized.safetensors", "tokenizer.model"])
def test_a_pointer_within_a_quantised_directory_is_told(name: str, directory: Path) -> None:
    save_quantized(quantized(load_checkpoint(directory), "q8"), directory)
    (directory / name).write_bytes(POINTER)
    require_told(lambda: load_quantized(directory), directory / name)


def test_a_pointer_in_place_of_a_prompt_is_told(directory: Path, pointer: Path) -> None:
    model = quantized(load_checkpoint(directory), "f32")
    require_told(lambda: read_prompt(model, pointer), pointer)


def test_a_text_that_speaks_of_git_lfs_is_a_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"It begins: " + POINTER)
    assert len(list(Source(tmp_path / "a.txt").documents())) == 1


@pytest.mark.parametrize("content", [b"hello\n", b"#" * 400])
def test_the_hint_for_an_unknown_file_lists_all_that_is_read(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(LlgenError) as refusal:
        read_any(tmp_path / "file", None)
    for form in (
        "config.json",
        "model.safetensors",
        "GGUF",
        ".bin (v0, v1, v2)",
        ".pt",
        "tokenizer.model",
        "tokenizer.json",
        "tokenizer.bin",
    ):
        assert form in str(refusal.value.hint)
