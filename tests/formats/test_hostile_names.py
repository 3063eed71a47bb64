"""Names and values that a file's maker chose reach no message raw or unbounded, whatever reader takes them up."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from models import ODD, random_checkpoint, trained_vocabulary
from safetensors.numpy import load_file, save_file
from sentencepiece import sentencepiece_model_pb2 as schema

from llgen.codegen.formats.detect import read_any, read_vocabulary
from llgen.codegen.formats.hf.directory import load_checkpoint, save_checkpoint
from llgen.codegen.plan.tuning import load_tuning
from llgen.codegen.quantise.quantize import quantized
from llgen.codegen.quantise.quantized import load_quantized, save_quantized
from llgen.errors import LlgenError
from llgen.notices import gathered
from llgen.targets.schema import load_target
from llgen.trainer.config import TrainConfig
from llgen.trainer.data import Source
from llgen.trainer.layers import layered, read_config_file
from llgen.trainer.llama2c_checkpoint import read_llama2c_checkpoint, write_llama2c_checkpoint
from llgen.trainer.metrics import read_metrics

SMALL = replace(ODD, dim=24, hidden_dim=20, n_layers=1, n_heads=4, n_kv_heads=2, head_dim=6, vocab_size=37)
SCREEN = "\x1b[2J\x1b[31m\x07\r\n\u202e\x00\\'\"` {x} %s 🙂"
HUGE = SCREEN + "A" * 200_000
MOST = 1_200
"""Characters of a message, beside the path."""


def require_tame(read: Callable[[], object], path: Path, *, refused: bool = True) -> None:
    """Whatever is said of a file is one printable line of bounded length, and `refused` says whether it is an error."""
    with gathered() as notices:
        try:
            read()
        except LlgenError as error:
            said = [error.message, error.hint or "", *notices]
        else:
            assert not refused
            said = notices
    for text in said:
        assert text.isprintable(), text[:500]
        assert len(text) <= MOST + text.count(str(path.parent)) * len(str(path.parent)), text[:500]


def toml(text: str) -> str:
    """A basic string of TOML."""
    return json.dumps(text.replace("\x7f", ""), ensure_ascii=True).replace("\\ud83d\\ude42", "x")


# ------------------------------------------------------------------------------------------------ Hugging Face files


def a_key(folder: Path, text: str) -> Path:
    return config(folder, text, 3)


def config(folder: Path, key: str, value: Any) -> Path:
    save_checkpoint(random_checkpoint(SMALL), folder)
    raw = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(raw | {key: value}))
    return folder


CONFIG_VALUES: dict[str, Callable[[str], Any]] = {
    key: lambda text: text
    for key in [
        "architectures",
        "bos_token_id",
        "dtype",
        "eos_token_id",
        "head_dim",
        "hidden_act",
        "hidden_size",
        "layer_types",
        "model_type",
        "num_attention_heads",
        "quantization_config",
        "rms_norm_eps",
        "rope_parameters",
        "rope_scaling",
        "rope_theta",
        "sliding_window",
        "tie_word_embeddings",
        "vocab_size",
    ]
} | {
    "architectures": lambda text: [text] * 20,
    "layer_types": lambda text: ["full_attention", text],
    "rope_scaling": lambda text: {"rope_type": text},
    "rope_parameters": lambda text: {text: text},
    "per_layer_config": lambda text: {text: {text: [text] * 20}},
    "hidden_size": lambda text: [text] * 20,
    "intermediate_size": lambda text: -(10**4000),
    "num_attention_heads": lambda text: -(10**4000),
}


@pytest.mark.parametrize("key", CONFIG_VALUES)
def test_values_of_a_config(key: str, tmp_path: Path) -> None:
    for text in (SCREEN, HUGE):
        folder = config(tmp_path / "model", key, CONFIG_VALUES[key](text))
        require_tame(partial(load_checkpoint, folder), folder)


def tensor(folder: Path, text: str) -> Path:
    save_checkpoint(random_checkpoint(SMALL), folder)
    tensors = load_file(folder / "model.safetensors")
    save_file(tensors | {text: np.zeros(3, np.float32)}, folder / "model.safetensors")
    return folder


def shard(folder: Path, text: str) -> Path:
    save_checkpoint(random_checkpoint(SMALL), folder)
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"model.norm.weight": text}}))
    return folder


def kind_of_numbers(folder: Path, text: str) -> Path:
    save_checkpoint(random_checkpoint(SMALL), folder)
    header = json.dumps({text: {"dtype": text, "shape": [1], "data_offsets": [0, 4]}}).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * 4)
    return folder


def whole_numbers(folder: Path, text: str) -> Path:
    save_checkpoint(random_checkpoint(SMALL), folder)
    save_file({text: np.zeros(3, np.int64)}, folder / "model.safetensors")
    return folder


def many_dimensions(folder: Path, text: str) -> Path:
    save_checkpoint(random_checkpoint(SMALL), folder)
    header = json.dumps({text: {"dtype": "F32", "shape": [1] * 100, "data_offsets": [0, 4]}}).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * 4)
    return folder


def no_json(folder: Path, text: str) -> Path:
    save_checkpoint(random_checkpoint(SMALL), folder)
    (folder / "config.json").write_text(text)
    return folder


DIRECTORIES = [a_key, tensor, shard, kind_of_numbers, whole_numbers, many_dimensions, no_json]


# ----------------------------------------------------------------------------------------------------------- tokens

EVERY_TOKEN = list(range(SMALL.vocab_size)) * 1000
TOKEN_FILES: dict[str, Callable[[str], dict[str, Any]]] = {
    "added_tokens.json": lambda text: {text + str(index): index for index in range(400, 600)},
    "added_tokens.json ": lambda text: {text: text},
    "special_tokens_map.json": lambda text: {"eos_token": text, "additional_special_tokens": [text] * 100},
    "tokenizer_config.json": lambda text: {"bos_token": text, "eos_token": {"content": text}, "add_bos_token": text},
    "tokenizer_config.json ": lambda text: {
        "added_tokens_decoder": {str(index): {"content": text + str(index)} for index in range(415, 600)}
    },
    "tokenizer_config.json  ": lambda text: {"added_tokens_decoder": {text: text}},
    "generation_config.json": lambda text: {"eos_token_id": text, "bos_token_id": [text]},
    "generation_config.json ": lambda text: {"eos_token_id": EVERY_TOKEN, "bos_token_id": 5},
    "config.json": lambda text: {"eos_token_id": EVERY_TOKEN, "bos_token_id": 6},
}


@pytest.mark.parametrize("text", [SCREEN, HUGE], ids=["screen", "huge"])
@pytest.mark.parametrize("name", TOKEN_FILES)
def test_names_of_tokens(name: str, text: str, tmp_path: Path) -> None:
    vocabulary = trained_vocabulary()
    config = replace(SMALL, vocab_size=len(vocabulary) + 8)
    save_checkpoint(random_checkpoint(replace(config, vocab_size=len(vocabulary)), vocabulary=vocabulary), tmp_path)
    path = tmp_path / name.strip()
    old = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(old | TOKEN_FILES[name](text)))
    require_tame(partial(load_checkpoint, tmp_path), tmp_path, refused=False)


TOKENIZER_JSON: dict[str, Callable[[str], dict[str, Any]]] = {
    "model": lambda text: {"model": {"type": text}},
    "vocab": lambda text: {"model": {"type": "BPE", "vocab": {text: text}}},
    "vocab's ids": lambda text: {"model": {"type": "BPE", "vocab": {text: 7}}},
    "unknown": lambda text: {"model": {"type": "BPE", "vocab": {"a": 0}, "unk_token": text}},
    "merge": lambda text: {"model": {"type": "BPE", "vocab": {"a": 0}, "merges": [text]}},
    "normalizer": lambda text: {"normalizer": {"type": text}, "model": {"type": "BPE", "vocab": {"a": 0}}},
    "added": lambda text: {
        "added_tokens": [{"id": text, "content": text}],
        "model": {"type": "BPE", "vocab": {"a": 0}, "unk_token": "a", "fuse_unk": True},
    },
}


@pytest.mark.parametrize("text", [SCREEN, HUGE], ids=["screen", "huge"])
@pytest.mark.parametrize("key", TOKENIZER_JSON)
def test_names_of_a_tokenizer_json(key: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(TOKENIZER_JSON[key](text)))
    require_tame(partial(read_vocabulary, path), path)


# ----------------------------------------------------------------------------------------------------------- others


def gguf(path: Path, pairs: list[tuple[str, str]], tensors: list[tuple[str, int, int]]) -> Path:
    """A GGUF file of text values, and of tensors by (name, dimensions, type) without data."""

    def packed(text: str) -> bytes:
        data = text.encode("utf-8", "surrogatepass")
        return struct.pack("<Q", len(data)) + data

    data = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(pairs))
    for key, value in pairs:
        data += packed(key) + struct.pack("<I", 8) + packed(value)
    for name, dimensions, kind in tensors:
        data += packed(name) + struct.pack("<I", dimensions) + struct.pack("<Q", 7) * dimensions
        data += struct.pack("<IQ", kind, 0)
    path.write_bytes(data)
    return path


def piece_model(path: Path, change: Callable[[schema.ModelProto], object]) -> Path:
    model = schema.ModelProto.FromString(trained_vocabulary().proto)
    change(model)
    path.write_bytes(model.SerializeToString())
    return path


def pt(path: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    write_llama2c_checkpoint(random_checkpoint(replace(SMALL, norm_eps=1e-5, rope_theta=1e4)), path)
    saved = torch.load(path, weights_only=True)
    change(saved)
    torch.save(saved, path)
    return path


LLAMA = ("general.architecture", "llama")
FILES: dict[str, Callable[[Path, str], Callable[[], object]]] = {
    "gguf architecture": lambda path, text: lambda: read_any(gguf(path, [(LLAMA[0], text)], []), None),
    "gguf type": lambda path, text: lambda: read_any(gguf(path, [LLAMA, ("general.type", text)], []), None),
    "gguf key": lambda path, text: lambda: read_any(gguf(path, [LLAMA, ("llama." + text, text)], []), None),
    "gguf key twice": lambda path, text: lambda: read_any(gguf(path, [(text, "a"), (text, "b")], []), None),
    "gguf value": lambda path, text: lambda: read_any(gguf(path, [LLAMA, ("llama.block_count", text)], []), None),
    "gguf alignment": lambda path, text: lambda: read_any(gguf(path, [("general.alignment", text)], []), None),
    "gguf tensor's dimensions": lambda path, text: lambda: read_any(gguf(path, [LLAMA], [(text, 9, 0)]), None),
    "gguf tensor's type": lambda path, text: lambda: read_any(gguf(path, [LLAMA], [(text, 1, 999)]), None),
    "gguf tensor's rows": lambda path, text: lambda: read_any(gguf(path, [LLAMA], [(text, 1, 8)]), None),
    "gguf tensor's end": lambda path, text: lambda: read_any(gguf(path, [LLAMA], [(text, 1, 0)]), None),
    "gguf split": lambda path, text: lambda: read_any(gguf(path, [LLAMA, ("split.count", text)], []), None),
    "piece twice": lambda path, text: (
        lambda: read_vocabulary(
            piece_model(path, lambda model: [model.pieces.add(piece=text, score=-1.0, type=1) for _ in range(2)])
        )
    ),
    "piece that is no number": lambda path, text: (
        lambda: read_vocabulary(
            piece_model(path, lambda model: model.pieces.add(piece=text, score=float("nan"), type=1))
        )
    ),
    "normaliser": lambda path, text: (
        lambda: read_vocabulary(
            piece_model(
                path,
                lambda model: model.normalizer_spec.MergeFrom(
                    schema.NormalizerSpec(name=text, precompiled_charsmap=b"x")
                ),
            )
        )
    ),
    "pt tensor": lambda path, text: (
        lambda: read_llama2c_checkpoint(pt(path, lambda saved: saved["model"].update({text: torch.zeros(2)})), None)
    ),
    "pt no tensor": lambda path, text: (
        lambda: read_llama2c_checkpoint(pt(path, lambda saved: saved["model"].update({text: text})), None)
    ),
    "pt argument": lambda path, text: (
        lambda: read_llama2c_checkpoint(pt(path, lambda saved: saved["model_args"].update({text: text})), None)
    ),
    "pt value": lambda path, text: (
        lambda: read_llama2c_checkpoint(pt(path, lambda saved: saved["model_args"].update({"dim": text})), None)
    ),
    "lines' fields": lambda path, text: (
        lambda: (
            path.write_text(json.dumps({text + str(index): 1 for index in range(20)})),
            list(Source(path, field="text").documents()),
        )
    ),
    "a line that is no JSON": lambda path, text: (
        lambda: (
            path.write_text('{"a": 1}\n{"' + text.replace("\n", "").replace('"', "")),
            list(Source(path, field="a").documents()),
        )
    ),
    "target's key": lambda path, text: lambda: (path.write_text(f"{toml(text)} = 1"), load_target(path)),
    "target's value": lambda path, text: lambda: (path.write_text(f"isa = [{toml(text)}]"), load_target(path)),
    "target that is no TOML": lambda path, text: (
        lambda: (
            path.write_text("[" + text, encoding="utf-8"),
            load_target(path),
        )
    ),
    "tuning's key": lambda path, text: lambda: (path.write_text(f"{toml(text)} = 1"), load_tuning(path)),
    "tuning's value": lambda path, text: lambda: (path.write_text(f"purpose = {toml(text)}"), load_tuning(path)),
    "training's key": lambda path, text: (
        lambda: (
            path.write_text(f"{toml(text)} = 1"),
            layered([read_config_file(path)]),
        )
    ),
    "training's value": lambda path, text: (
        lambda: (
            path.write_text(f"model.dim = {toml(text)}"),
            layered([read_config_file(path)]),
        )
    ),
    "training that is no TOML": lambda path, text: lambda: (path.write_text("[" + text), read_config_file(path)),
    "run's configuration": lambda path, text: (
        lambda: (
            path.write_text(json.dumps({text: text})),
            TrainConfig.load(path),
        )
    ),
    "run's metrics": lambda path, text: (
        lambda: (
            (path.parent / "metrics.jsonl").write_text(text),
            read_metrics(path.parent),
        )
    ),
}


@pytest.mark.parametrize("text", [SCREEN, HUGE], ids=["screen", "huge"])
@pytest.mark.parametrize("make", DIRECTORIES, ids=lambda make: make.__name__)
def test_names_of_a_directory(make: Callable[[Path, str], Path], text: str, tmp_path: Path) -> None:
    folder = make(tmp_path / "model", text)
    require_tame(lambda: load_checkpoint(folder), folder, refused=make is not a_key)


@pytest.mark.parametrize("text", [SCREEN, HUGE], ids=["screen", "huge"])
@pytest.mark.parametrize("read", FILES.values(), ids=FILES)
def test_names_of_a_file(read: Callable[[Path, str], Callable[[], object]], text: str, tmp_path: Path) -> None:
    path = tmp_path / "file.toml"  # whose ending a target's name needs, and nothing else looks at
    require_tame(read(path, text), path)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(name=st.sampled_from(sorted(FILES)), text=st.text(max_size=300))
@example(name="gguf key", text="\x9b31m")
def test_any_text_in_any_place_of_a_file(name: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / "file.toml"
    try:
        read = FILES[name](path, text)
        require_tame(read, path, refused=False)
    except (UnicodeEncodeError, ValueError, TypeError) as error:  # of the test's own writer, for what cannot be written
        assert "surrogates" in str(error) or "protobuf" in str(error).lower(), error


def test_a_quantised_directory(tmp_path: Path) -> None:
    save_checkpoint(random_checkpoint(SMALL), tmp_path / "f32")
    save_quantized(quantized(load_checkpoint(tmp_path / "f32"), "q8"), tmp_path / "q8")
    path = tmp_path / "q8" / "config.json"
    raw = json.loads(path.read_text())
    for key in ("scheme", "kv", "context", "bits"):
        for text in (SCREEN, HUGE):
            raw["llgen_quantization"] = raw["llgen_quantization"] | {key: text}
            path.write_text(json.dumps(raw))
            require_tame(lambda: load_quantized(tmp_path / "q8"), tmp_path / "q8")


def test_names_of_files_that_are_in_the_way(tmp_path: Path) -> None:
    name = "\x1b[31m" + "x" * 200
    (tmp_path / name).write_text("")
    require_tame(lambda: save_checkpoint(random_checkpoint(SMALL), tmp_path), tmp_path)
