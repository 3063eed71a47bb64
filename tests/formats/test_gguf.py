"""GGUF: what is written, read by the gguf package and by ours; what is read, of every type; and what is refused."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter
from gguf.quants import dequantize, quantize
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from interleaved import assert_close, interleaved_logits, reference_logits
from models import random_checkpoint, trained_vocabulary
from shapes import odd_configs

from llgen.codegen.checkpoint import Checkpoint
from llgen.codegen.config import ModelConfig
from llgen.codegen.errors import LlgenError
from llgen.codegen.formats.adopt import adopt_tokens
from llgen.codegen.formats.detect import Form, describe, detect, read_any
from llgen.codegen.formats.gguf_names import gguf_names
from llgen.codegen.formats.gguf_read import read_gguf
from llgen.codegen.formats.gguf_write import write_gguf
from llgen.codegen.formats.rope_rows import to_interleaved
from llgen.codegen.formats.sentencepiece_model import Conventions, build_proto
from llgen.codegen.vocabulary import Kind, Piece, Vocabulary

TOKENS = [1, 2, 0, 2]
# Rows of 256 and 512 numbers, which every type's blocks divide.
BLOCKS = ModelConfig(
    dim=256, hidden_dim=512, n_layers=1, n_heads=4, n_kv_heads=2, head_dim=64, vocab_size=5, max_seq_len=8, tied=False
)
SMALL = replace(BLOCKS, dim=24, hidden_dim=20, head_dim=6, n_layers=2)
in_tmp_path = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)


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
        here = to_interleaved(name, tensor, BLOCKS.head_dim)
        stored[gguf_names(BLOCKS)[name]] = here if here.ndim == 1 else pack(here)
    rewrite(path, checkpoint, {name: (data, kind if data.ndim == 2 else None) for name, data in stored.items()})
    again = read_gguf(path, None)
    assert describe(path).quantised == (kind.name not in ("F32", "F16", "BF16"))
    assert describe(path).text == ("GGUF, F32" if kind.name == "F32" else f"GGUF, {kind.name}, F32")
    expected = interleaved_logits(BLOCKS, by_other_hands(path), TOKENS)
    assert_close(expected, reference_logits(again, TOKENS))


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
    tensors = dict(checkpoint.tensors) | {"lm_head.weight": np.full((5, 256), value, np.float32)}
    with pytest.raises(LlgenError, match=r"tensor 'output\.weight' holds .*reaches"):
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
    config = adopt_tokens(replace(SMALL, vocab_size=len(vocabulary)), vocabulary)
    write_gguf(random_checkpoint(config, vocabulary=vocabulary), tmp_path / "model.gguf", "f32")
    again = read_gguf(tmp_path / "model.gguf", None).vocabulary
    assert again is not None
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
    write_gguf(random_checkpoint(replace(SMALL, bos_id=3, eos_id=4)), tmp_path / "model.gguf", "f32")
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


def add_tensor(name: str) -> Change:
    return lambda _, tensors: tensors.update({name: (np.zeros(24, np.float32), None)})


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
    (drop("tokenizer.ggml.scores"), "has no tokenizer.ggml.scores"),
    (drop("tokenizer.ggml.token_type"), "has no tokenizer.ggml.token_type"),
    (put("tokenizer.ggml.model", "gpt2"), "has the tokenizer 'gpt2'; llgen supports 'llama'"),
    (put("tokenizer.ggml.scores", [0.5, 0.25]), "has 420 tokens, 2 scores and 420 token types"),
    (put("tokenizer.ggml.scores", "none"), "tokenizer.ggml.scores = 'none'; it must be a list"),
    (put("tokenizer.ggml.tokens", ["a", "b"]), "has 2 tokens, 420 scores"),
    (put("tokenizer.ggml.token_type", [9] * 420), "token 0 has the type 9; it must be 1 to 6"),
    (put("tokenizer.ggml.token_type", [1] * 420), "holds 0 unknown pieces"),
    (put("tokenizer.ggml.add_space_prefix", "yes"), "it must be true or false"),
    (put("llama.rope.scaling.type", "linear"), "llama.rope.scaling.type = 'linear': RoPE scaling, which llgen lacks"),
    (put("llama.rope.scale_linear", 4.0), "llama.rope.scale_linear = 4.0: RoPE scaling"),
    (add_tensor("rope_freqs.weight"), "rope_freqs.weight: RoPE scaling"),
    (put("llama.expert_count", 8), "llama.expert_count = 8: a mixture of experts"),
    (put("split.count", 3), "split.count = 3: one of several parts"),
    (put("llama.attention.head_count_kv", [2, 1]), "head_count_kv = [2, 1]; it must be one whole number"),
    (put("llama.attention.head_count", 0), "head_count = 0; it must be at least 1"),
    (put("llama.attention.value_length", 8), "value_length = 8; llgen asks for head_dim, 6"),
    (put("llama.rope.dimension_count", 2), "dimension_count = 2; llgen asks for head_dim, 6"),
    (put("llama.embedding_length", "24"), "embedding_length = '24'; it must be one whole number"),
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
    config = replace(SMALL, vocab_size=150, n_layers=1)
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


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=300)
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
    vocabulary = Vocabulary.from_proto(build_proto(pieces, Conventions(bos="<b>", add_dummy_prefix=False)))
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
