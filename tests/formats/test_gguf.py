"""GGUF: what is written, read by the gguf package and by ours; what is read, of every type; and what is refused."""

from __future__ import annotations

import contextlib
import re
import struct
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter
from gguf.quants import dequantize, quantize
from hypothesis import given, settings
from hypothesis import strategies as st
from interleaved import assert_close, interleaved_logits, reference_logits
from models import ODD, SCALINGS, random_checkpoint, trained_vocabulary
from shapes import odd_configs

from llgen.codegen.contract.matrix import round_in_groups
from llgen.codegen.formats.adopt import adopt, claim_of
from llgen.codegen.formats.detect import Form, describe, detect, read_any
from llgen.codegen.formats.gguf.keys import HARMLESS, READ, require_plain_llama
from llgen.codegen.formats.gguf.names import gguf_names
from llgen.codegen.formats.gguf.read import read_gguf
from llgen.codegen.formats.gguf.write import write_gguf
from llgen.codegen.formats.hf.directory import save_checkpoint
from llgen.codegen.formats.rope_rows import to_interleaved
from llgen.codegen.formats.sentencepiece_model import Conventions, build_proto
from llgen.codegen.model.architectures import parameter_count
from llgen.codegen.model.checkpoint import Checkpoint
from llgen.codegen.model.config import ModelConfig
from llgen.codegen.model.rope import LinearScaling, Llama3Scaling, RopeScaling, TableScaling, YarnScaling
from llgen.codegen.model.sentence_piece import SentencePiece
from llgen.codegen.model.spec import lower
from llgen.codegen.model.vocabulary import Kind, Piece
from llgen.codegen.quantise.requantize import requantised
from llgen.errors import LlgenError
from llgen.notices import gathered

TOKENS = [1, 2, 0, 2]
# Rows of 256 and 512 numbers, which every type's blocks divide.
BLOCKS = ModelConfig(
    dim=256, hidden_dim=512, n_layers=1, n_heads=4, n_kv_heads=2, head_dim=64, vocab_size=5, max_seq_len=8, tied=False
)
SMALL = replace(BLOCKS, dim=24, hidden_dim=20, head_dim=6, n_layers=2)
in_tmp_path = settings(max_examples=40)


def by_other_hands(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a file by the gguf package, names without ".weight"."""
    return {
        tensor.name.removesuffix(".weight"): dequantize(tensor.data, tensor.tensor_type)
        for tensor in GGUFReader(path).tensors
    }


def fields(path: Path) -> dict[str, Any]:
    return {name: field.contents() for name, field in GGUFReader(path).fields.items() if not name.startswith("GGUF.")}


# ------------------------------------------------------------------------------------------------------- round trips


@in_tmp_path
@given(config=odd_configs(), seed=st.integers(0, 9))
def test_f32_holds_the_model_to_the_bit(config: ModelConfig, seed: int, tmp_path: Path) -> None:
    checkpoint, path = random_checkpoint(config, seed=seed), tmp_path / "model.gguf"
    assert not write_gguf(checkpoint, path, "f32")
    again = read_gguf(path, None)
    assert config == again.config
    for name, tensor in checkpoint.tensors.items():
        np.testing.assert_array_equal(again.tensors[name], tensor, err_msg=name)
    expected = reference_logits(checkpoint, TOKENS)
    np.testing.assert_array_equal(reference_logits(again, TOKENS), expected)
    assert_close(interleaved_logits(config, by_other_hands(path), TOKENS), expected)


@in_tmp_path
@given(config=odd_configs(), seed=st.integers(0, 9), kind=st.sampled_from(["f16", "q8_0", "q4_0"]))
def test_smaller_types_are_read_as_they_are_stored(config: ModelConfig, seed: int, kind: str, tmp_path: Path) -> None:
    checkpoint, path = random_checkpoint(config, seed=seed), tmp_path / "model.gguf"
    write_gguf(checkpoint, path, kind)
    again = read_gguf(path, None)
    assert_close(interleaved_logits(config, by_other_hands(path), TOKENS), reference_logits(again, TOKENS))
    for name, tensor in checkpoint.tensors.items():
        # Half a step of Q8_0, a whole one of Q4_0, which cuts off the largest of the other sign; and what the scale,
        # F16 itself, is off by.
        steps = {"f16": 2**-11, "q8_0": 0.5 / 127 + 2**-11, "q4_0": 1 / 8 + 2**-11}
        step = steps[kind] if tensor.ndim == 2 else 0.0
        assert np.abs(again.tensors[name] - tensor).max() <= step * np.abs(tensor).max(), name


@pytest.mark.parametrize("kind", ["q8_0", "q4_0"])
def test_leaves_rows_of_broken_blocks_in_f16(kind: str, tmp_path: Path) -> None:
    config = replace(SMALL, dim=64, hidden_dim=172, head_dim=16)
    kept = write_gguf(random_checkpoint(config), tmp_path / "model.gguf", kind)
    assert kept == ["blk.0.ffn_down.weight", "blk.1.ffn_down.weight"]
    types = {tensor.name: tensor.tensor_type.name for tensor in GGUFReader(tmp_path / "model.gguf").tensors}
    assert types["blk.0.ffn_down.weight"] == "F16"
    assert types["blk.0.ffn_up.weight"] == types["token_embd.weight"] == kind.upper()
    assert types["blk.0.attn_norm.weight"] == types["output_norm.weight"] == "F32"


@pytest.mark.parametrize(("tied", "eight"), [(True, "token_embd.weight"), (False, "output.weight")])
def test_the_matrix_that_gives_the_logits_has_eight_bits_in_a_file_of_four(
    tied: bool, eight: str, tmp_path: Path
) -> None:
    assert not write_gguf(random_checkpoint(replace(BLOCKS, tied=tied)), tmp_path / "model.gguf", "q4_0")
    types = {tensor.name: tensor.tensor_type.name for tensor in GGUFReader(tmp_path / "model.gguf").tensors}
    assert types.pop(eight) == "Q8_0"
    assert set(types.values()) == {"Q4_0", "F32"}


def readable() -> list[GGMLQuantizationType]:
    """The types that the gguf package takes apart."""
    found = []
    for kind in GGMLQuantizationType:
        with contextlib.suppress(NotImplementedError):
            dequantize(np.zeros((1, GGML_QUANT_SIZES[kind][1]), np.uint8), kind)
            found.append(kind)
    return found


@pytest.mark.parametrize("kind", readable(), ids=lambda kind: kind.name)
def test_reads_what_the_gguf_package_can_take_apart(kind: GGMLQuantizationType, tmp_path: Path) -> None:
    block, size = GGML_QUANT_SIZES[kind]
    rng = np.random.default_rng(kind)

    def pack(tensor: np.ndarray) -> np.ndarray:
        try:
            return quantize(tensor, kind)
        except NotImplementedError:  # the package only reads it: bytes at random, scales (two each) of a sensible size
            data = rng.integers(0, 256, (len(tensor), tensor.shape[1] // block, size // 2, 2), dtype=np.uint8)
            data[..., 1] &= 0x2F
            return data.reshape(len(tensor), -1)

    checkpoint = random_checkpoint(BLOCKS)
    path = tmp_path / "model.gguf"
    stored = {}
    for name, tensor in checkpoint.tensors.items():
        here = to_interleaved(name, tensor, BLOCKS)
        stored[gguf_names(BLOCKS)[name]] = here if here.ndim == 1 else pack(here)
    rewrite(path, checkpoint, {name: (data, kind if data.ndim == 2 else None) for name, data in stored.items()})
    again = read_gguf(path, None)
    assert describe(path).quantised == (kind.name not in ("F32", "F16", "BF16"))
    assert describe(path).text == ("GGUF, F32" if kind.name == "F32" else f"GGUF, {kind.name}, F32")
    for name, stored in gguf_names(BLOCKS).items():
        theirs = by_other_hands(path)[stored.removesuffix(".weight")]
        np.testing.assert_array_equal(to_interleaved(name, again.tensors[name], BLOCKS), theirs, err_msg=stored)
    expected = interleaved_logits(BLOCKS, by_other_hands(path), TOKENS)
    assert_close(expected, reference_logits(again, TOKENS))


def turns_of_llama_cpp(path: Path, positions: int) -> np.ndarray:
    """e^(i angle) times the amplitude, [positions, head_dim / 2], as ggml's rope makes it of a file of a Llama.

    After ggml_rope_cache_init and rope_yarn of ggml-cpu/ops.cpp, and llama_context's constructor.
    """
    found, tables = fields(path), {tensor.name: tensor.data for tensor in GGUFReader(path).tensors}
    width, base = found["llama.rope.dimension_count"], found["llama.rope.freq_base"]
    kind = found.get("llama.rope.scaling.type", "linear")
    factor = found.get("llama.rope.scaling.factor", found.get("llama.rope.scale_linear", 0.0)) or 1.0
    factor = 1.0 if kind == "none" else factor
    amplitude = found.get("llama.rope.scaling.attn_factor", 1.0)
    pair = np.arange(width // 2)
    extrapolated = base ** (-2.0 * pair / width) / tables.get("rope_freqs.weight", 1.0)
    frequencies = extrapolated / factor
    if kind == "yarn":
        context = found["llama.rope.scaling.original_context_length"]
        ends = [width * np.log(context / (turns * 2 * np.pi)) / (2 * np.log(base)) for turns in (32.0, 1.0)]
        low, high = max(0.0, np.floor(ends[0])), min(width - 1.0, np.ceil(ends[1]))
        kept = 1 - np.clip((pair - low) / max(0.001, high - low), 0, 1)
        frequencies = frequencies * (1 - kept) + extrapolated * kept
        amplitude *= 1.0 + 0.1 * np.log(factor)
    turns: np.ndarray = amplitude * np.exp(1j * np.outer(np.arange(positions), frequencies))
    return turns


@pytest.mark.parametrize("kind", SCALINGS)
def test_a_scaled_rotation_is_written_for_llama_cpp_and_read_again(kind: str, tmp_path: Path) -> None:
    checkpoint, path = random_checkpoint(replace(ODD, rope_scaling=SCALINGS[kind])), tmp_path / "model.gguf"
    write_gguf(checkpoint, path, "f32")
    again = read_gguf(path, None)
    assert (again.config == checkpoint.config) == (kind in ("linear", "yarn", "table"))
    found = again.config.rope_scaling
    assert isinstance(found, TableScaling) == (kind in ("llama3", "yarn, all set", "table"))
    tokens = [(7 * position) % ODD.vocab_size for position in range(ODD.max_seq_len)]
    expected = reference_logits(checkpoint, tokens)
    assert_close(reference_logits(again, tokens), expected)
    tensors = by_other_hands(path)
    tensors.pop("rope_freqs", None)
    assert_close(interleaved_logits(ODD, tensors, tokens, turns_of_llama_cpp(path, len(tokens))), expected)
    write_gguf(replace(again, name=checkpoint.name), tmp_path / "again.gguf", "f32")
    assert path.read_bytes() == (tmp_path / "again.gguf").read_bytes()


@pytest.mark.parametrize(("factor", "theta", "head_dim"), [(8.0, 500000.0, 128), (32.0, 500000.0, 64)])
def test_the_scaling_of_llama_3_is_recognised(factor: float, theta: float, head_dim: int, tmp_path: Path) -> None:
    """In float32 throughout, as llama.cpp's converter computes the table; one other factor, and it is a table."""
    kind, path = np.float32, tmp_path / "model.gguf"
    frequencies = kind(1) / kind(theta) ** (np.arange(0, head_dim, 2, dtype=kind) / kind(head_dim))
    smooth = (kind(8192) / (kind(2 * np.pi) / frequencies) - kind(1)) / kind(4 - 1)
    between = kind(1) / ((kind(1) - smooth) / kind(factor) + smooth)
    table = np.where(smooth < 0, kind(factor), np.where(smooth > 1, kind(1), between))
    assert len(set(table.tolist())) > 4
    config = replace(SMALL, head_dim=head_dim, rope_theta=theta)

    def read_with(table: np.ndarray) -> RopeScaling | None:
        added = {"rope_freqs.weight": (table, None)}
        rewrite(path, random_checkpoint(config), {}, lambda _, tensors: tensors.update(added))
        return read_gguf(path, None).config.rope_scaling

    assert read_with(table) == Llama3Scaling(factor, 1.0, 4.0, 8192)
    table[1] *= kind(1.001)
    assert isinstance(read_with(table), TableScaling)
    assert read_with(np.full(head_dim // 2, 0.5, kind)) == TableScaling((0.5,) * (head_dim // 2))


SCALED: list[tuple[dict[str, Any], RopeScaling | None]] = [
    ({"scaling.type": "none", "scaling.factor": 4.0}, None),
    ({"scaling.factor": 4.0}, LinearScaling(4.0)),
    ({"scale_linear": 4.0}, LinearScaling(4.0)),
    ({"scaling.factor": 2.0, "scale_linear": 4.0}, LinearScaling(2.0)),
    ({"scaling.factor": 2.0, "scaling.attn_factor": 1.5}, TableScaling((2.0,) * 3, 1.5)),
    ({"scaling.factor": 2.0, "scaling.attn_factor": 0.5}, TableScaling((2.0,) * 3, 0.5)),
    ({"scaling.attn_factor": 1.5}, TableScaling((1.0,) * 3, 1.5)),
    ({"scaling.type": "yarn", "scaling.factor": 2.0}, YarnScaling(2.0, 75, 1 + 0.1 * np.log(2.0))),
    (
        {"scaling.type": "yarn", "scaling.factor": 2.0, "scaling.original_context_length": 9}
        | {"scaling.attn_factor": 2.0},
        YarnScaling(2.0, 9, 2 + 0.2 * np.log(2.0)),
    ),
    ({"scaling.type": "linear", "scaling.factor": 4.0, "scaling.original_context_length": 9}, LinearScaling(4.0)),
]


@pytest.mark.parametrize(("keys", "expected"), SCALED, ids=[str(keys) for keys, _ in SCALED])
def test_keys_of_a_scaled_rotation_are_read_as_llama_cpp_does(
    keys: dict[str, Any], expected: RopeScaling | None, tmp_path: Path
) -> None:
    def change(pairs: dict[str, Any], tensors: dict[str, Any]) -> None:
        for key, value in ({"scaling.original_context_length": 75} | keys).items():
            put(f"llama.rope.{key}", value)(pairs, tensors)

    path = tmp_path / "model.gguf"
    rewrite(path, random_checkpoint(ODD), {}, change)
    again = read_gguf(path, None)
    assert again.config.rope_scaling == expected
    logits = interleaved_logits(ODD, by_other_hands(path), TOKENS, turns_of_llama_cpp(path, len(TOKENS)))
    assert_close(logits, reference_logits(again, TOKENS))


def test_every_type_of_a_quantised_file_is_read() -> None:
    names = {kind.name for kind in readable()}
    families = "Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K Q4_K Q5_K Q6_K IQ1_M IQ2_XXS IQ3_S IQ4_NL IQ4_XS TQ1_0 TQ2_0 MXFP4"
    assert names >= {"F32", "F16", "BF16", *families.split()}


@pytest.mark.parametrize(
    "kind", [kind for kind in GGMLQuantizationType if kind not in readable()], ids=lambda kind: kind.name
)
def test_a_type_that_nothing_takes_apart_is_refused_by_its_name(kind: GGMLQuantizationType, tmp_path: Path) -> None:
    block, size = GGML_QUANT_SIZES[kind]
    path = tmp_path / "model.gguf"

    def change(_: dict[str, Any], tensors: dict[str, Any]) -> None:
        rows, columns = tensors["blk.0.ffn_up.weight"][0].shape
        tensors["blk.0.ffn_up.weight"] = (np.zeros((rows, columns // block * size), np.uint8), kind)

    rewrite(path, random_checkpoint(BLOCKS), {}, change)
    with pytest.raises(LlgenError) as refusal:
        read_any(path, None)
    assert f"'blk.0.ffn_up.weight' is {kind.name}, which cannot be turned into float32" in refusal.value.message
    assert refusal.value.hint


@pytest.mark.parametrize(
    "kind", [kind for kind in GGMLQuantizationType if GGML_QUANT_SIZES[kind][0] > 1], ids=lambda kind: kind.name
)
def test_rows_of_broken_blocks_are_refused(kind: GGMLQuantizationType, tmp_path: Path) -> None:
    block, _ = GGML_QUANT_SIZES[kind]
    for columns in (1, block - 1, block + 1, 2**63 + 1):
        info = struct.pack("<IQQIQ", 2, columns, 3, kind, 0)
        (tmp_path / "model.gguf").write_bytes(HEAD + struct.pack("<QQ", 1, 0) + text("t") + info + bytes(4096))
        with pytest.raises(LlgenError, match=f"rows of 't' have {columns} values, no multiple of {block}"):
            read_any(tmp_path / "model.gguf", None)


def test_one_tensor_at_a_time_is_in_memory(tmp_path: Path) -> None:
    config = replace(BLOCKS, n_layers=12)
    write_gguf(random_checkpoint(config), tmp_path / "model.gguf", "q8_0")
    largest, total = 4 * config.hidden_dim * config.dim, 4 * parameter_count(config)
    tracemalloc.start()
    try:
        requantised(lower(read_any(tmp_path / "model.gguf", None)))
        save_checkpoint(read_any(tmp_path / "model.gguf", None), tmp_path / "model")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 12 * largest < total / 4  # two matrices are fused, and mixed in float64


def test_a_file_that_vanishes_while_it_is_read_is_named(tmp_path: Path) -> None:
    write_gguf(random_checkpoint(BLOCKS), tmp_path / "model.gguf", "f32")
    read = read_any(tmp_path / "model.gguf", None)
    (tmp_path / "model.gguf").unlink()
    with pytest.raises(LlgenError, match=r"cannot read '.*model\.gguf': No such file"):
        save_checkpoint(read, tmp_path / "model")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("kind", "bits"), [("Q4_0", 4), ("Q4_0", 5), ("Q5_0", 5), ("Q5_0", 6)])
def test_integers_of_symmetric_blocks_of_32_stay_what_they_are(kind: str, bits: int) -> None:
    """Rounding to as many bits finds the file's own steps, and to one more their halves: no weight is rounded again."""
    type_, own = GGMLQuantizationType[kind], int(kind[1])
    packed = quantize(np.random.default_rng(bits).standard_normal((16, 96), np.float32), type_)
    values = dequantize(packed, type_)
    _, size = GGML_QUANT_SIZES[type_]
    scales = packed.reshape(-1, size)[:, :2].copy().view(np.float16).astype(np.float32).reshape(16, 3)
    ours = round_in_groups(values, bits)
    assert ours.multipliers is not None
    signs = np.sign(ours.multipliers) * np.sign(scales).astype(np.int8)
    theirs = np.rint(values / np.repeat(scales, 32, axis=1)).astype(np.int8)
    np.testing.assert_array_equal(ours.integers, theirs * np.repeat(signs, 32, axis=1) * 2 ** (bits - own))
    off = np.abs(ours.dequantized() - values).max(axis=1)
    assert (off <= np.abs(values).max(axis=1) / 250).all()  # half a step of the multiplier, which is 127 at most


def test_same_bytes_each_time_and_no_path_inside(tmp_path: Path) -> None:
    files = tmp_path / "a.gguf", tmp_path / "elsewhere" / "b.gguf"
    for kind in ("f32", "f16", "q8_0", "q4_0"):
        for path in files:
            write_gguf(random_checkpoint(SMALL), path, kind)
        assert files[0].read_bytes() == files[1].read_bytes()
        assert detect(files[0]) is Form.GGUF
        assert str(tmp_path).encode() not in files[0].read_bytes()
    assert sorted(tmp_path.iterdir()) == [files[0], files[1].parent]


@pytest.mark.parametrize(("kind", "value"), [("f16", 7e4), ("q8_0", 9e6), ("q4_0", 6e5)])
def test_refuses_weights_beyond_the_type(kind: str, value: float, tmp_path: Path) -> None:
    checkpoint = random_checkpoint(BLOCKS)
    tensors = dict(checkpoint.tensors) | {"model.embed_tokens.weight": np.full((5, 256), value, np.float32)}
    with pytest.raises(LlgenError, match=r"tensor 'token_embd\.weight' holds .*reaches"):
        write_gguf(replace(checkpoint, tensors=tensors), tmp_path / "model.gguf", kind)
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------------------------------------------------- metadata


def test_metadata_are_what_llama_cpp_asks_for(tmp_path: Path) -> None:
    vocabulary = trained_vocabulary()
    config = replace(SMALL, vocab_size=len(vocabulary), rope_theta=5000.0, norm_eps=1e-6)
    write_gguf(random_checkpoint(config, vocabulary=vocabulary), tmp_path / "model.gguf", "q8_0")
    found = fields(tmp_path / "model.gguf")
    lists = [found.pop(f"tokenizer.ggml.{key}") for key in ("tokens", "scores", "token_type")]
    assert [*vocabulary.pieces] == [Piece(text, score, Kind(kind)) for text, score, kind in zip(*lists, strict=True)]
    assert found.pop("llama.attention.layer_norm_rms_epsilon") == pytest.approx(1e-6)
    assert found == {
        "general.architecture": "llama",
        "general.type": "model",
        "general.name": "odd",
        "general.file_type": 7,
        "general.quantization_version": 2,
        "llama.vocab_size": len(vocabulary),
        "llama.context_length": 8,
        "llama.embedding_length": 24,
        "llama.block_count": 2,
        "llama.feed_forward_length": 20,
        "llama.attention.head_count": 4,
        "llama.attention.head_count_kv": 2,
        "llama.attention.key_length": 6,
        "llama.attention.value_length": 6,
        "llama.rope.dimension_count": 6,
        "llama.rope.freq_base": 5000.0,
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.pre": "default",
        "tokenizer.ggml.unknown_token_id": 0,
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.eot_token_id": 1,
        "tokenizer.ggml.add_bos_token": True,
        "tokenizer.ggml.add_eos_token": False,
        "tokenizer.ggml.add_space_prefix": True,
        "tokenizer.ggml.remove_extra_whitespaces": True,
    }


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"byte_fallback": False, "size": 150},
        {"add_dummy_prefix": False},
        {"remove_extra_whitespaces": False},
        {"bos_piece": "<begin>", "eos_piece": "<end>"},
        {"bos_id": 2, "eos_id": 1, "pad_id": 3},
        {"bos_id": -1, "byte_fallback": False, "size": 150},
    ],
)
def test_a_vocabulary_comes_back(options: dict[str, Any], tmp_path: Path) -> None:
    vocabulary = trained_vocabulary(**options)
    config, _ = adopt(replace(SMALL, vocab_size=len(vocabulary)), vocabulary, [claim_of(vocabulary, "tokenizer.model")])
    write_gguf(random_checkpoint(config, vocabulary=vocabulary), tmp_path / "model.gguf", "f32")
    read = read_gguf(tmp_path / "model.gguf", None)
    again = read.vocabulary
    assert again is not None
    assert (config.bos_id, config.end_ids) == (read.config.bos_id, read.config.end_ids)
    assert replace(vocabulary, proto=b"") == replace(again, proto=b"")
    for text in ("Once upon a time", "  two  spaces ", "Käse, 中文 😀\n", "", "▁"):
        assert vocabulary.encode(text) == again.encode(text)


def test_a_given_tokenizer_takes_the_place_of_the_own(tmp_path: Path) -> None:
    own, other = trained_vocabulary(), trained_vocabulary(bos_piece="<begin>")
    config = replace(SMALL, vocab_size=len(own))
    write_gguf(random_checkpoint(config, vocabulary=own), tmp_path / "model.gguf", "f32")
    (tmp_path / "t.model").write_bytes(other.proto)
    assert other == read_any(tmp_path / "model.gguf", tmp_path / "t.model").vocabulary


def test_without_a_tokenizer(tmp_path: Path) -> None:
    write_gguf(random_checkpoint(replace(SMALL, bos_id=3, end_ids=(4, 3))), tmp_path / "model.gguf", "f32")
    again = read_gguf(tmp_path / "model.gguf", None)
    assert again.vocabulary is None
    assert (again.config.bos_id, again.config.eos_id) == (3, 4)


# -------------------------------------------------------------------------------------------------------- refusals

Change = Callable[[dict[str, Any], dict[str, Any]], None]


def rewrite(
    path: Path, checkpoint: Checkpoint, tensors: dict[str, Any], change: Change = lambda pairs, _: None
) -> None:
    """Write a file by the gguf package: a good one's pairs, changed, and `tensors`, name -> (data, type)."""
    write_gguf(checkpoint, path, "f32")
    reader = GGUFReader(path)
    own = {name: field for name, field in reader.fields.items() if not name.startswith("GGUF.")}
    pairs: dict[str, Any] = {name: (field.contents(), field.types) for name, field in own.items()}
    tensors = tensors or {tensor.name: (np.array(tensor.data), None) for tensor in reader.tensors}
    change(pairs, tensors)
    architecture, _ = pairs.pop("general.architecture", ("", None))
    writer = GGUFWriter(path, architecture)
    if not architecture:
        writer.kv_data[0].clear()
    for name, (value, types) in pairs.items():
        if types is None:
            (writer.add_array if isinstance(value, list) else writer.add_string)(name, value)
        else:
            writer.add_key_value(name, value, types[0], types[1] if len(types) > 1 else None)
    for name, (data, kind) in tensors.items():
        writer.add_tensor(name, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def put(key: str, value: Any) -> Change:
    def change(pairs: dict[str, Any], _: dict[str, Any]) -> None:
        old = pairs.get(key)
        typed = old is not None and type(old[0]) is type(value)
        pairs[key] = (
            (value, old[1] if typed else None) if isinstance(value, str | list) else (value, [_TYPES[type(value)]])
        )

    return change


_TYPES = {int: GGUFValueType.UINT32, float: GGUFValueType.FLOAT32, bool: GGUFValueType.BOOL}


def drop(key: str) -> Change:
    return lambda pairs, _: pairs.pop(key) and None


def add_tensor(name: str, size: int = 24) -> Change:
    return lambda _, tensors: tensors.update({name: (np.zeros(size, np.float32), None)})


def yarn_and_table(pairs: dict[str, Any], tensors: dict[str, Any]) -> None:
    put("llama.rope.scaling.type", "yarn")(pairs, tensors)
    add_tensor("rope_freqs.weight", 3)(pairs, tensors)


def drop_tokenizer(pairs: dict[str, Any], _: dict[str, Any]) -> None:
    for key in [key for key in pairs if key.startswith("tokenizer.")]:
        del pairs[key]


def with_tokenizer(config: ModelConfig) -> Checkpoint:
    return random_checkpoint(replace(config, tied=False), vocabulary=trained_vocabulary())


UNREADABLE: list[Change] = [
    put("tokenizer.ggml.model", "bert"),
    put("tokenizer.ggml.token_type", [9] * 420),
    drop("tokenizer.ggml.tokens"),
    drop("tokenizer.ggml.model"),
]


@pytest.mark.parametrize("change", UNREADABLE)
def test_a_tokenizer_that_cannot_be_read_does_not_shut_the_weights_in(change: Change, tmp_path: Path) -> None:
    path, model = tmp_path / "model.gguf", with_tokenizer(replace(SMALL, vocab_size=420))
    rewrite(path, model, {}, change)
    with pytest.raises(LlgenError) as refusal:
        read_any(path, None)
    assert "--no-tokenizer" in str(refusal.value.hint) or "has no tokenizer.ggml" in refusal.value.message
    found = read_any(path, None, without_tokenizer=True)
    assert found.vocabulary is None
    assert (found.config.bos_id, found.config.end_ids) == (1, (2, 1))
    np.testing.assert_array_equal(found.tensors["lm_head.weight"], model.tensors["lm_head.weight"])


def test_a_file_without_any_tokenizer_is_a_model_without_one(tmp_path: Path) -> None:
    rewrite(tmp_path / "m.gguf", with_tokenizer(replace(SMALL, vocab_size=420)), {}, drop_tokenizer)
    found = read_any(tmp_path / "m.gguf", None)
    assert found.vocabulary is None
    assert (found.config.bos_id, found.config.end_ids) == (1, (2, 1))


def test_scores_are_optional_and_then_all_equal(tmp_path: Path) -> None:
    model = with_tokenizer(replace(SMALL, vocab_size=420))
    rewrite(tmp_path / "m.gguf", model, {}, drop("tokenizer.ggml.scores"))
    found = read_any(tmp_path / "m.gguf", None).vocabulary
    assert found is not None
    assert model.vocabulary is not None
    assert found.pieces == tuple(replace(piece, score=0.0) for piece in model.vocabulary.pieces)
    found.encode("the leftmost pair comes first")


def test_types_are_optional_and_then_known_by_name_and_number(tmp_path: Path) -> None:
    model = with_tokenizer(replace(SMALL, vocab_size=420))
    for change in (drop("tokenizer.ggml.token_type"), put("tokenizer.ggml.unknown_token_id", 0)):
        rewrite(tmp_path / "m.gguf", model, {}, change)
        assert model.vocabulary is not None
        found = read_any(tmp_path / "m.gguf", None).vocabulary
        assert found is not None
        assert found.pieces == model.vocabulary.pieces


def test_further_ends_of_a_turn_and_a_message_end_a_text(tmp_path: Path) -> None:
    def change(pairs: dict[str, Any], tensors: dict[str, Any]) -> None:
        put("tokenizer.ggml.eot_token_id", 300)(pairs, tensors)
        put("tokenizer.ggml.eom_token_id", 301)(pairs, tensors)

    rewrite(tmp_path / "m.gguf", with_tokenizer(replace(SMALL, vocab_size=420)), {}, change)
    assert read_any(tmp_path / "m.gguf", None).config.end_ids == (2, 300, 301, 1)


def test_rows_that_llama_cpps_converter_padded_are_padding(tmp_path: Path) -> None:
    """It names them [PAD420] and so on, unused pieces of the score -10000."""
    padded = trained_vocabulary().with_pieces([Piece(f"[PAD{i}]", -10000.0, Kind.UNUSED) for i in range(420, 432)])
    write_gguf(random_checkpoint(replace(SMALL, vocab_size=432), vocabulary=padded), tmp_path / "m.gguf", "f32")
    found = read_any(tmp_path / "m.gguf", None).vocabulary
    assert found is not None
    assert found.padding == tuple(range(420, 432))


REFUSED: list[tuple[Change, str]] = [
    (put("general.architecture", "qwen2"), "is of architecture 'qwen2'; llgen supports 'llama'"),
    (drop("general.architecture"), "has no general.architecture, which every GGUF"),
    *[
        (drop(f"llama.{key}"), f"has no llama.{key}, which every GGUF")
        for key in ("context_length", "embedding_length", "block_count", "feed_forward_length", "attention.head_count")
    ],
    (drop("llama.attention.layer_norm_rms_epsilon"), "has no llama.attention.layer_norm_rms_epsilon"),
    (drop("tokenizer.ggml.model"), "has no tokenizer.ggml.model"),
    (drop("tokenizer.ggml.tokens"), "has no tokenizer.ggml.tokens"),
    (put("tokenizer.ggml.model", "bert"), "has the tokenizer 'bert'; llgen supports 'llama'"),
    (put("tokenizer.ggml.scores", [0.5, 0.25]), "has 420 tokens, 2 scores and 420 token types"),
    (put("tokenizer.ggml.scores", "none"), "tokenizer.ggml.scores = 'none'; it must be a list"),
    (put("tokenizer.ggml.tokens", ["a", "b"]), "has 2 tokens, 420 scores"),
    (put("tokenizer.ggml.token_type", [9] * 420), "token 0 has the type 9; it must be 1 to 6"),
    (put("tokenizer.ggml.token_type", [2] * 420), "holds 420 unknown pieces"),
    (put("tokenizer.ggml.add_space_prefix", "yes"), "it must be true or false"),
    (put("llama.rope.scaling.type", "longrope"), "scaling.type = 'longrope'; llgen supports none, linear, yarn"),
    (put("llama.rope.scaling.factor", 0.25), "has llama.rope.scaling whose factor is 0.25; it must be 1 to 65536"),
    (put("llama.rope.scaling.attn_factor", -1.0), "llama.rope.scaling whose attention_factor is -1.0; it must be"),
    (put("llama.rope.scaling.yarn_beta_fast", 64.0), "llama.rope.scaling.yarn_beta_fast = 64.0: RoPE scaling"),
    (put("llama.rope.scaling.yarn_attn_factor", 0.5), "llama.rope.scaling.yarn_attn_factor = 0.5: RoPE scaling"),
    (put("llama.rope.scaling.alpha", 2.0), "llama.rope.scaling.alpha = 2.0: RoPE scaling"),
    (yarn_and_table, "llama.rope.scaling.type = 'yarn' and rope_freqs.weight; llgen supports one"),
    (put("llama.attention.scale", 0.25), "llama.attention.scale = 0.25: a part of other models, which llgen lacks"),
    (put("llama.attention.clamp_kqv", 8.0), "llama.attention.clamp_kqv = 8.0: a part of"),
    (put("llama.attention.sliding_window", 4), "sliding_window = 4: a sliding attention window"),
    (put("llama.attention.causal", False), "causal = False: attention to later positions"),
    (put("llama.logit_scale", 0.5), "llama.logit_scale = 0.5: a part of"),
    (put("llama.somebody's own", 1), "llama.somebody's own = 1: a part of"),
    (put("general.type", "adapter"), "general.type = 'adapter'; llgen reads 'model' only"),
    (put("llama.rope.scale_linear", 1e9), "llama.rope.scaling whose factor is 1000000000.0; it must be"),
    (add_tensor("rope_freqs.weight"), "tensor 'rope_freqs.weight' has shape (24,); the metadata ask for (3,)"),
    (add_tensor("rope_freqs.weight", 3), "whose factor 0 of rope_scaling is 0.0; it must be"),
    (put("llama.expert_count", 8), "llama.expert_count = 8: a mixture of experts"),
    (put("split.count", 3), "split.count = 3: one of several parts"),
    (put("llama.attention.head_count_kv", [2, 1]), "head_count_kv = [2, 1]; it must be one integer"),
    (put("llama.attention.head_count", 0), "head_count = 0; it must be at least 1"),
    (put("llama.attention.value_length", 8), "value_length = 8; llgen asks for head_dim, 6"),
    (put("llama.rope.dimension_count", 2), "dimension_count = 2; llgen asks for head_dim, 6"),
    (put("llama.embedding_length", "24"), "embedding_length = '24'; it must be one integer"),
    (
        put("llama.embedding_length", 48),
        "tensor 'token_embd.weight' has shape (420, 24); the metadata ask for (420, 48)",
    ),
    (put("llama.block_count", 3), "has no tensor 'blk.2.attn_k.weight'"),
    (put("llama.rope.freq_base", 1), "freq_base = 1; it must be a number"),
    (put("general.alignment", 0), "general.alignment is 0"),
    (add_tensor("blk.0.attn_q.bias"), "has a tensor 'blk.0.attn_q.bias', which is none of a plain Llama model's"),
    (lambda _, tensors: tensors.pop("blk.1.ffn_up.weight") and None, "has no tensor 'blk.1.ffn_up.weight'"),
    (lambda _, tensors: tensors.pop("token_embd.weight") and None, "has no tensor token_embd.weight"),
]


@pytest.mark.parametrize(("change", "message"), REFUSED, ids=[message[:50] for _, message in REFUSED])
def test_refuses(change: Change, message: str, tmp_path: Path) -> None:
    vocabulary = trained_vocabulary()
    checkpoint = random_checkpoint(replace(SMALL, vocab_size=420), vocabulary=vocabulary)
    assert len(vocabulary) == 420
    path = tmp_path / "model.gguf"
    rewrite(path, checkpoint, {}, change)
    with pytest.raises(LlgenError) as refusal:
        read_any(path, None)
    assert message in refusal.value.message
    assert "\n" not in refusal.value.message


NEUTRAL: list[tuple[str, object]] = [
    ("llama.rope.scaling.type", "linear"),
    ("llama.rope.scaling.factor", 1.0),
    ("llama.rope.scale_linear", 0.0),
    ("llama.rope.scaling.attn_factor", 1.0),
    ("llama.rope.scaling.yarn_beta_fast", 32.0),
    ("llama.rope.scaling.yarn_ext_factor", -1.0),
    ("llama.rope.scaling.original_context_length", 8),
    ("llama.logit_scale", 1.0),
    ("llama.attention.clamp_kqv", 0.0),
    ("llama.attention.layer_norm_epsilon", 0.5),
    ("llama.expert_used_count", 0),
    ("llama.tensor_data_layout", "anything"),
    ("llama.attention.head_count_kv", [2, 2]),
    ("llama.feed_forward_length", [SMALL.hidden_dim] * SMALL.n_layers),
    ("general.type", "model"),
    ("somebody's.own", 3),
]


@pytest.mark.parametrize(("key", "value"), NEUTRAL, ids=[key for key, _ in NEUTRAL])
def test_keys_that_change_nothing_are_read_over(key: str, value: object, tmp_path: Path) -> None:
    checkpoint = random_checkpoint(SMALL)
    rewrite(tmp_path / "model.gguf", checkpoint, {}, put(key, value))
    assert checkpoint.sha256 == read_gguf(tmp_path / "model.gguf", None).sha256


def test_no_key_that_the_gguf_package_names_is_read_over_unclassified(tmp_path: Path) -> None:
    """All that are neither read nor known to be harmless are refused at a value that is not nothing."""
    from gguf.constants import Keys

    groups = [vars(group).values() for group in vars(Keys).values() if isinstance(group, type)]
    keys = {key.replace("{arch}.", "") for group in groups for key in group if isinstance(key, str) and "{arch}" in key}
    assert len(keys) > 80
    for key in keys - READ - HARMLESS:
        with pytest.raises(LlgenError, match=re.escape(f"has llama.{key} = 7: ")):
            require_plain_llama({f"llama.{key}": 7}, tmp_path)


def test_the_rewritten_file_itself_is_good(tmp_path: Path) -> None:
    checkpoint = random_checkpoint(SMALL)
    rewrite(tmp_path / "model.gguf", checkpoint, {})
    assert checkpoint.sha256 == read_gguf(tmp_path / "model.gguf", None).sha256


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


HEAD = b"GGUF" + struct.pack("<I", 3)
DAMAGED = {
    "magic only": (b"GGUF", "the version takes 4 bytes, and 0 are left"),
    "version 1": (b"GGUF" + struct.pack("<I", 1), "GGUF of version 1; llgen reads versions 2 and 3"),
    "big-endian": (b"GGUF" + struct.pack(">I", 3), "big-endian GGUF"),
    "no counts": (HEAD, "the header takes 8 bytes"),
    "pairs without end": (HEAD + struct.pack("<QQ", 0, 2**63), "the length of key 0 takes 8 bytes"),
    "tensors without end": (HEAD + struct.pack("<QQ", 2**63, 0), "the length of the name of tensor 0"),
    "long key": (HEAD + struct.pack("<QQQ", 0, 1, 2**62), f"key 0 takes {2**62} bytes, and 0 are left"),
    "no UTF-8": (HEAD + struct.pack("<QQQ", 0, 1, 1) + b"\xff", "key 0 is not UTF-8"),
    "long array": (
        HEAD + struct.pack("<QQ", 0, 1) + text("a") + struct.pack("<IIQ", 9, 0, 2**60),
        f"'a' takes {2**60} bytes, and 0 are left",
    ),
    "long list of texts": (
        HEAD + struct.pack("<QQ", 0, 1) + text("a") + struct.pack("<IIQ", 9, 8, 2**60),
        f"'a' takes {2**63} bytes",
    ),
    "nested array": (HEAD + struct.pack("<QQ", 0, 1) + text("a") + struct.pack("<IIQ", 9, 9, 1), "is of type 9"),
    "unknown type": (HEAD + struct.pack("<QQ", 0, 1) + text("a") + struct.pack("<I", 13), "is of type 13"),
    "key twice": (HEAD + struct.pack("<QQ", 0, 2) + 2 * (text("a") + struct.pack("<IB", 0, 1)), "the key 'a' twice"),
    "no dimensions": (HEAD + struct.pack("<QQ", 1, 0) + text("t") + struct.pack("<I", 0), "has 0 dimensions"),
    "five dimensions": (HEAD + struct.pack("<QQ", 1, 0) + text("t") + struct.pack("<I", 5), "has 5 dimensions"),
    "large tensor": (
        HEAD + struct.pack("<QQ", 1, 0) + text("t") + struct.pack("<IQQQIQ", 3, 2**40, 2**40, 2**40, 0, 0),
        "is truncated: tensor 't' ends at byte",
    ),
    "tensor of no type": (
        HEAD + struct.pack("<QQ", 1, 0) + text("t") + struct.pack("<IQIQ", 1, 0, 999, 0),
        "tensor 't' is of type 999",
    ),
    "half a block": (
        HEAD + struct.pack("<QQ", 1, 0) + text("t") + struct.pack("<IQIQ", 1, 16, 8, 0),
        "rows of 't' have 16 values, no multiple of 32",
    ),
}


@pytest.mark.parametrize(("data", "message"), DAMAGED.values(), ids=DAMAGED)
def test_refuses_damaged_file(data: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(data)
    with pytest.raises(LlgenError) as refusal:
        read_any(tmp_path / "model.gguf", None)
    assert message in refusal.value.message


@pytest.fixture(scope="module")
def small_file(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("gguf") / "model.gguf"
    config = replace(SMALL, vocab_size=150, n_layers=1, rope_scaling=SCALINGS["table"])
    vocabulary = trained_vocabulary(150, byte_fallback=False)
    write_gguf(random_checkpoint(replace(config, vocab_size=len(vocabulary)), vocabulary=vocabulary), path, "f32")
    return path.read_bytes()


@in_tmp_path
@given(share=st.floats(0.0, 1.0, exclude_max=True))
def test_refuses_truncated_file(small_file: bytes, share: float, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(small_file[: max(4, int(share * len(small_file)))])
    with pytest.raises(LlgenError, match="truncated"):
        read_any(path, None)


@settings(max_examples=300)
@given(flips=st.lists(st.tuples(st.integers(0, 8000), st.integers(0, 7)), min_size=1, max_size=3))
def test_damage_loads_or_is_refused(small_file: bytes, flips: list[tuple[int, int]], tmp_path: Path) -> None:
    data = bytearray(small_file)
    for offset, bit in flips:
        data[4 + offset % (len(data) - 4)] ^= 1 << bit
    path = tmp_path / "model.gguf"
    path.write_bytes(data)
    with contextlib.suppress(LlgenError):
        read_any(path, None)


def test_conventions_are_the_models_own() -> None:
    pieces = [Piece("<unk>", 0.0, Kind.UNKNOWN), Piece("<b>", 0.0, Kind.CONTROL), Piece("a", -1.0, Kind.NORMAL)]
    vocabulary = SentencePiece.from_proto(build_proto(pieces, Conventions(bos="<b>", add_dummy_prefix=False)))
    assert (vocabulary.bos_id, vocabulary.eos_id, vocabulary.add_dummy_prefix) == (1, -1, False)


# -------------------------------------------------------------------------------------------------------- real files


def test_real_model_comes_back(shared: Path, tmp_path: Path) -> None:
    folder = shared / "models" / "stories260K"
    checkpoint = read_any(folder / "stories260K.bin", folder / "tok512.model")
    write_gguf(checkpoint, tmp_path / "stories260K.gguf", "f32")
    again = read_any(tmp_path / "stories260K.gguf", None)
    tokens = [1, *(checkpoint.vocabulary or trained_vocabulary()).encode("Once upon a time there was a little girl")]
    np.testing.assert_array_equal(reference_logits(again, tokens), reference_logits(checkpoint, tokens))
    assert again.vocabulary is not None
    assert again.vocabulary.pieces == (checkpoint.vocabulary or trained_vocabulary()).pieces


def test_further_ends_have_keys_of_their_own_and_what_has_none_is_said(tmp_path: Path) -> None:
    vocabulary = trained_vocabulary()
    config = replace(SMALL, vocab_size=len(vocabulary), end_ids=(2, 7, 1))
    with gathered() as said:
        write_gguf(random_checkpoint(config, vocabulary=vocabulary), tmp_path / "three.gguf", "f32")
    assert said == []
    ends = {"eos": 2, "eot": 7, "eom": 1}
    assert {f"tokenizer.ggml.{key}_token_id": token for key, token in ends.items()}.items() <= fields(
        tmp_path / "three.gguf"
    ).items()
    assert read_gguf(tmp_path / "three.gguf", None).config.end_ids == (2, 7, 1)
    with gathered() as said:
        write_gguf(random_checkpoint(replace(config, end_ids=(2, 7, 9, 1))), tmp_path / "four.gguf", "f32")
    assert said == ["GGUF has room for 3 tokens that end a text, so that llama.cpp will not stop at 1"]
