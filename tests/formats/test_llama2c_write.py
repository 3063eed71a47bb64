"""What `llgen export --format llama2c` writes: read by other code, by ours, and held against the original files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from interleaved import assert_close, interleaved_logits, reference_logits
from models import random_checkpoint, trained_vocabulary
from shapes import odd_configs

from llgen.codegen.formats.detect import Form, detect, read_any
from llgen.codegen.formats.llama2c.read import read_llama2c
from llgen.codegen.formats.llama2c.tokenizer import pack_tokenizer_bin, read_tokenizer_bin, write_tokenizer_bin
from llgen.codegen.formats.llama2c.write import fitting_group_size, write_llama2c
from llgen.codegen.model.checkpoint import Checkpoint
from llgen.codegen.model.config import ModelConfig
from llgen.codegen.model.rope import LinearScaling
from llgen.codegen.model.sentence_piece import SentencePiece
from llgen.codegen.model.vocabulary import Piece
from llgen.errors import LlgenError

Array = npt.NDArray[np.float32]
SMALL = ModelConfig(
    dim=24, hidden_dim=20, n_layers=2, n_heads=4, n_kv_heads=2, head_dim=6, vocab_size=37, max_seq_len=9, tied=False
)
TOKENS = [1, 2, 0, 2]
in_tmp_path = settings(max_examples=40)


def take_apart(data: bytes, config: ModelConfig, version: int, group_size: int) -> dict[str, Array]:
    """A file's tensors by GGUF's names, found by counting alone."""
    at = 28 if version == 0 else 256
    dim, hidden, kv_dim = config.dim, config.hidden_dim, config.n_kv_heads * config.head_dim
    found: dict[str, Array] = {}

    def numbers(count: int, kind: str) -> npt.NDArray[np.generic]:
        nonlocal at
        values = np.frombuffer(data, kind, count, at)
        at += values.nbytes
        return values

    def matrix(name: str, rows: int, columns: int) -> None:
        if version == 2:
            integers = numbers(rows * columns, "i1").reshape(-1, group_size).astype(np.float32)
            scales = numbers(len(integers), "<f4").astype(np.float32)
            found[name] = (integers * scales[:, None]).reshape(rows, columns)
        else:
            found[name] = numbers(rows * columns, "<f4").reshape(rows, columns).astype(np.float32)

    def layers(name: str, *shape: int) -> None:
        for layer in range(config.n_layers):
            if len(shape) == 1:
                found[f"blk.{layer}.{name}"] = numbers(shape[0], "<f4").astype(np.float32)
            else:
                matrix(f"blk.{layer}.{name}", *shape)

    if version == 0:
        matrix("token_embd", config.vocab_size, dim)
        layers("attn_norm", dim)
    else:
        layers("attn_norm", dim)
        layers("ffn_norm", dim)
        found["output_norm"] = numbers(dim, "<f4").astype(np.float32)
        matrix("token_embd", config.vocab_size, dim)
    for name, rows, columns in (("q", dim, dim), ("k", kv_dim, dim), ("v", kv_dim, dim), ("output", dim, dim)):
        layers(f"attn_{name}", rows, columns)
    if version == 0:
        layers("ffn_norm", dim)
    for name, rows, columns in (("gate", hidden, dim), ("down", dim, hidden), ("up", hidden, dim)):
        layers(f"ffn_{name}", rows, columns)
    if version == 0:
        found["output_norm"] = numbers(dim, "<f4").astype(np.float32)
        numbers(config.max_seq_len * config.head_dim, "<f4")
    if not config.tied:
        matrix("output", config.vocab_size, dim)
    assert at == len(data)
    return found


@in_tmp_path
@given(config=odd_configs(llama2c=True), version=st.sampled_from([0, 1]), seed=st.integers(0, 9))
def test_float_files_hold_the_model_to_the_bit(config: ModelConfig, version: int, seed: int, tmp_path: Path) -> None:
    checkpoint, path = random_checkpoint(config, seed=seed), tmp_path / "model.bin"
    write_llama2c(checkpoint, path, version)
    again = read_llama2c(path, None)
    assert config == again.config
    for name, tensor in checkpoint.tensors.items():
        np.testing.assert_array_equal(again.tensors[name], tensor, err_msg=name)
    expected = reference_logits(checkpoint, TOKENS)
    np.testing.assert_array_equal(reference_logits(again, TOKENS), expected)
    assert_close(interleaved_logits(config, take_apart(path.read_bytes(), config, version, 0), TOKENS), expected)


@in_tmp_path
@given(config=odd_configs(llama2c=True), seed=st.integers(0, 9))
def test_eight_bits_lose_half_a_step_and_no_more(config: ModelConfig, seed: int, tmp_path: Path) -> None:
    checkpoint, path = random_checkpoint(config, seed=seed), tmp_path / "model.bin"
    header = write_llama2c(checkpoint, path, 2)
    again = read_llama2c(path, None)
    assert header.group_size == fitting_group_size(config)
    for name, tensor in checkpoint.tensors.items():
        step = 0.0 if tensor.ndim == 1 else np.abs(tensor).max() / 127
        assert np.abs(again.tensors[name] - tensor).max() <= 0.5001 * step, name
    direct = interleaved_logits(config, take_apart(path.read_bytes(), config, 2, header.group_size), TOKENS)
    assert_close(direct, reference_logits(again, TOKENS))
    write_llama2c(again, tmp_path / "twice.bin", 2)
    for name, tensor in read_llama2c(tmp_path / "twice.bin", None).tensors.items():
        np.testing.assert_allclose(tensor, again.tensors[name], rtol=3e-7, err_msg=name)


def test_a_group_of_zeros_stays_zero(tmp_path: Path) -> None:
    checkpoint = random_checkpoint(SMALL)
    tensors = dict(checkpoint.tensors) | {"lm_head.weight": np.zeros((37, 24), np.float32)}
    write_llama2c(replace(checkpoint, tensors=tensors), tmp_path / "model.bin", 2)
    assert not read_llama2c(tmp_path / "model.bin", None).tensors["lm_head.weight"].any()


@pytest.mark.parametrize(
    ("dim", "hidden", "wanted", "size"), [(64, 172, 64, 4), (192, 512, 64, 64), (192, 516, 48, 12), (6, 7, 64, 1)]
)
def test_groups_divide_every_vector(dim: int, hidden: int, wanted: int, size: int) -> None:
    config = replace(SMALL, dim=dim, hidden_dim=hidden)
    assert size == fitting_group_size(config, wanted)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"rope_theta": 5000.0}, "fixes rope_theta at 10000.0; the model has 5000.0"),
        ({"rope_scaling": LinearScaling(2.0)}, "llama2.c's code scales no RoPE; the model has linear"),
        ({"norm_eps": 1e-6}, "fixes norm_eps at 1e-05; the model has 1e-06"),
        ({"head_dim": 4}, "would compute dim / n_heads = 24 / 4, and the model has 4"),
    ],
)
def test_refuses_what_llama2c_would_compute_otherwise(changed: dict[str, float], message: str, tmp_path: Path) -> None:
    checkpoint = random_checkpoint(replace(SMALL, **changed))  # type: ignore[arg-type]
    for version in (0, 1, 2):
        with pytest.raises(LlgenError, match=message):
            write_llama2c(checkpoint, tmp_path / "model.bin", version)
    assert not list(tmp_path.iterdir())


def test_same_bytes_each_time(tmp_path: Path) -> None:
    files = tmp_path / "a.bin", tmp_path / "elsewhere" / "b.bin"
    for version in (0, 1, 2):
        for path in files:
            write_llama2c(random_checkpoint(SMALL), path, version)
        assert files[0].read_bytes() == files[1].read_bytes()
        assert detect(files[0]) is Form.LLAMA2C
    assert sorted(tmp_path.iterdir()) == [files[0], files[1].parent]


@pytest.mark.parametrize("dim", [640, 896, 1152, 1408])  # whose two bytes begin a pickle
def test_a_width_is_no_pickle(dim: int, tmp_path: Path) -> None:
    config = replace(SMALL, dim=dim, head_dim=dim // 4, n_layers=1)
    write_llama2c(random_checkpoint(config), tmp_path / "model.bin", 0)
    assert config == read_any(tmp_path / "model.bin", None).config


def test_nothing_is_left_when_writing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.bin"
    write_llama2c(random_checkpoint(SMALL), path, 1)
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("llgen.codegen.formats.llama2c.write._pack", full)
    with pytest.raises(LlgenError, match=r"cannot write '.*model\.bin': no space left, "):
        write_llama2c(random_checkpoint(SMALL, seed=2), path, 1)
    assert ([path], before) == (list(tmp_path.iterdir()), path.read_bytes())


# --------------------------------------------------------------------------------------------------------- tokenizer


def test_tokenizer_bin_is_what_the_exporter_writes(
    pieces: tuple[Piece, ...], tokenizer_bin: Callable[[tuple[Piece, ...]], bytes], tmp_path: Path
) -> None:
    (tmp_path / "a.bin").write_bytes(tokenizer_bin(pieces))
    vocabulary = read_tokenizer_bin(tmp_path / "a.bin")
    assert tokenizer_bin(pieces) == pack_tokenizer_bin(vocabulary)
    write_tokenizer_bin(vocabulary, tmp_path / "b.bin")
    assert pieces == read_tokenizer_bin(tmp_path / "b.bin").pieces


@pytest.mark.parametrize("byte_fallback", [True, False])
def test_tokenizer_bin_comes_back(byte_fallback: bool, tmp_path: Path) -> None:
    vocabulary = trained_vocabulary(byte_fallback=byte_fallback, size=420 if byte_fallback else 150)
    write_tokenizer_bin(vocabulary, tmp_path / "a.bin")
    assert vocabulary.pieces == read_tokenizer_bin(tmp_path / "a.bin").pieces


def test_tokenizer_bin_replaces_its_own_kind_only(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_text("a diary")
    with pytest.raises(LlgenError, match=r"exists and is no tokenizer\.bin"):
        write_tokenizer_bin(trained_vocabulary(), path)
    assert path.read_text() == "a diary"


# -------------------------------------------------------------------------------------------------------- real files


@pytest.fixture(scope="module")
def stories(shared: Path) -> Checkpoint:
    folder = shared / "models" / "stories260K"
    return read_any(folder / "stories260K.bin", folder / "tok512.model")


@pytest.mark.parametrize(
    ("version", "group_size", "original"),
    [(1, None, "stories260K_v1.bin"), (2, 8, "stories260K_v2_q80_gs8.bin")],
)
def test_writes_the_original_again(
    stories: Checkpoint, shared: Path, tmp_path: Path, version: int, group_size: int | None, original: str
) -> None:
    write_llama2c(stories, tmp_path / "model.bin", version, group_size)
    assert (shared / "models" / "stories260K" / original).read_bytes() == (tmp_path / "model.bin").read_bytes()


def test_writes_the_original_v0_again_but_for_the_last_bit_of_its_rope_tables(
    stories: Checkpoint, shared: Path, tmp_path: Path
) -> None:
    write_llama2c(stories, tmp_path / "model.bin", 0)
    ours = (tmp_path / "model.bin").read_bytes()
    original = (shared / "models" / "stories260K" / "stories260K.bin").read_bytes()
    tables = slice(len(ours) - 4 * stories.config.max_seq_len * stories.config.head_dim, len(ours))
    assert (len(original), original[: tables.start]) == (len(ours), ours[: tables.start])
    there, here = (np.frombuffer(data[tables], "<f4") for data in (original, ours))
    assert np.abs(there - here).max() <= 2**-24


def test_writes_the_original_v2_of_a_larger_model_again(shared: Path, tmp_path: Path) -> None:
    folder = shared / "models" / "stories3M"
    checkpoint = read_any(folder / "stories3M_v2_q80_gs64.bin", folder / "tok4096.bin")
    write_llama2c(checkpoint, tmp_path / "model.bin", 2)
    assert (folder / "stories3M_v2_q80_gs64.bin").read_bytes() == (tmp_path / "model.bin").read_bytes()


@pytest.mark.parametrize("stem", ["stories260K/tok512", "stories3M/tok4096"])
def test_writes_the_original_tokenizer_again(shared: Path, stem: str) -> None:
    path = shared / "models" / stem
    assert path.with_suffix(".bin").read_bytes() == pack_tokenizer_bin(
        SentencePiece.from_file(path.with_suffix(".model"))
    )
