"""llama2.c checkpoints: every form is read exactly, every malformed file is refused in words."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llgen.codegen.formats.detect import read_any
from llgen.codegen.formats.llama2c.read import read_header, read_llama2c
from llgen.codegen.model.checkpoint import Checkpoint
from llgen.errors import LlgenError

Builder = Callable[..., Any]
NAN = struct.pack("<f", float("nan"))
INF = struct.pack("<f", float("inf"))

# Each example overwrites the file of the one before, in one folder.
in_tmp_path = settings(max_examples=200)


def read(tmp_path: Path, data: bytes) -> Checkpoint:
    path = tmp_path / "tiny.bin"
    path.write_bytes(data)
    return read_llama2c(path, None)


# ------------------------------------------------------------------------------------------------------ valid files


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize(("version", "group_size"), [(0, 4), (1, 4), (2, 1), (2, 2), (2, 4), (2, 8), (2, 16)])
def test_reads_every_form_exactly(llama2c: Builder, tmp_path: Path, version: int, group_size: int, tied: bool) -> None:
    expected = llama2c(version, tied, group_size)
    actual = read(tmp_path, expected.data)
    assert set(expected.tensors) == set(actual.tensors)
    for name, tensor in expected.tensors.items():
        np.testing.assert_array_equal(tensor, actual.tensors[name], err_msg=name)
        assert actual.tensors[name].dtype == np.float32
    assert actual.config.tied == tied
    assert (actual.config.rope_theta, actual.config.norm_eps) == (10000.0, 1e-5)


@in_tmp_path
@given(
    heads=st.sampled_from([(1, 1), (2, 1), (2, 2), (6, 3), (6, 2)]),
    head_dim=st.sampled_from([2, 4, 6]),
    hidden=st.integers(1, 9),
    layers=st.integers(1, 3),
    vocab=st.integers(3, 9),
    positions=st.integers(1, 5),
    version=st.integers(0, 2),
    tied=st.booleans(),
)
def test_reads_any_dimensions(
    llama2c: Builder, tmp_path: Path, heads: tuple[int, int], head_dim: int, hidden: int, layers: int, vocab: int,
    positions: int, version: int, tied: bool,
) -> None:  # fmt: skip
    dims = (heads[0] * head_dim, hidden, layers, *heads, vocab, positions)
    expected = llama2c(version, tied, 2, dims)
    actual = read(tmp_path, expected.data)
    config = actual.config
    assert dims == (
        config.dim, config.hidden_dim, config.n_layers, config.n_heads, config.n_kv_heads, config.vocab_size,
        config.max_seq_len,
    )  # fmt: skip
    for name, tensor in expected.tensors.items():
        np.testing.assert_array_equal(tensor, actual.tensors[name], err_msg=name)


def test_header_describes_its_form(llama2c: Builder, tmp_path: Path) -> None:
    path = tmp_path / "tiny.bin"
    path.write_bytes(llama2c(2, group_size=8).data)
    assert read_header(path).description == "llama2.c v2, Q8_0 in groups of 8"


# -------------------------------------------------------------------------------------------------- malformed files


def word(index: int, value: int) -> Callable[[bytes], bytes]:
    """Replace the int32 at `index` words."""
    return at(4 * index, struct.pack("<i", value))


def at(offset: int, new: bytes) -> Callable[[bytes], bytes]:
    return lambda data: data[:offset] + new + data[offset + len(new) :]


def cut(count: int) -> Callable[[bytes], bytes]:
    return lambda data: data[:count]


def text(content: bytes) -> Callable[[bytes], bytes]:
    return lambda data: content


# version of the valid file -> (what is done to it, what the message must say)
MALFORMED: dict[int, dict[str, tuple[Callable[[bytes], bytes], str]]] = {
    0: {
        "empty": (cut(0), "has 0 bytes; a llama2.c checkpoint starts with a header of 28"),
        "header cut": (cut(27), "has 27 bytes"),
        "no tensors": (cut(28), "is truncated: it has 28 bytes, and its header"),
        "one byte short": (cut(-1), "is truncated"),
        "one byte long": (lambda data: data + b"\0", "has 1 byte too many"),
        "twice": (lambda data: data * 2, "bytes too many"),
        "dim zero": (word(0, 0), "seems to be no llama2.c checkpoint: .*dim is 0; it must be 1 to 65536"),
        "dim negative": (word(0, -8), "dim is -8"),
        "dim absurd": (word(0, 1 << 30), "dim is 1073741824"),
        "hidden_dim zero": (word(1, 0), "hidden_dim is 0"),
        "hidden_dim negative": (word(1, -12), "hidden_dim is -12"),
        "n_layers zero": (word(2, 0), "n_layers is 0"),
        "n_layers absurd": (word(2, 2**31 - 1), "n_layers is 2147483647"),
        "n_heads zero": (word(3, 0), "n_heads is 0"),
        "n_heads negative": (word(3, -2), "n_heads is -2"),
        "n_heads does not divide dim": (word(3, 3), "dim is 8, which n_heads 3 does not divide"),
        "n_kv_heads zero": (word(4, 0), "n_kv_heads is 0"),
        "n_kv_heads does not divide n_heads": (word(4, 3), "n_heads is 2, which n_kv_heads 3 does not divide"),
        "head_dim odd": (lambda data: word(4, 8)(word(3, 8)(data)), "head_dim is 1; RoPE rotates pairs"),
        "vocab_size zero": (word(5, 0), "vocab_size is 0"),
        "vocab_size the least int32": (word(5, -(2**31)), "vocab_size is 2147483648"),
        "sign of vocab_size": (word(5, -270), "is truncated"),
        "max_seq_len zero": (word(6, 0), "max_seq_len is 0"),
        "max_seq_len absurd": (word(6, 1 << 26), "max_seq_len is 67108864; it must be 1 to 1048576"),
        "max_seq_len one more": (word(6, 7), "is truncated"),
        "magic reversed": (at(0, b"ak42"), "neither the magic of v1 and v2 nor the dimensions of v0"),
        "prose": (text(b"Once upon a time there was a little girl."), "seems to be no llama2.c checkpoint"),
        "zeros": (text(bytes(4096)), "seems to be no llama2.c checkpoint"),
        "NaN weight": (at(28, NAN), "model.embed_tokens.weight' holds nan at element 0; weights must be finite"),
        "infinite weight": (at(28 + 4 * 270 * 8, INF), "input_layernorm.weight' holds inf at element 0"),
    },
    1: {
        "header cut": (cut(100), "is truncated: it has 100 bytes, and its header alone 256"),
        "one byte short": (cut(-1), "is truncated"),
        "one byte long": (lambda data: data + b"\0", "has 1 byte too many"),
        "version 0": (word(1, 0), "of version 0; llgen reads 0, 1 and 2"),
        "version 3": (word(1, 3), "of version 3"),
        "version negative": (word(1, -1), "of version -1"),
        "version 2": (word(1, 2), "group_size is 0"),
        "dim negative": (word(2, -8), "has a corrupt header: dim is -8"),
        "n_heads zero": (word(5, 0), "n_heads is 0"),
        "vocab_size negative": (word(7, -270), "vocab_size is -270"),
        "shared_classifier 2": (at(36, b"\2"), "shared_classifier is 2; it must be 0 or 1"),
        "shared_classifier 0": (at(36, b"\0"), "is truncated"),
        "padding": (at(255, b"\1"), "bytes 37 to 255 must be zero"),
        "NaN weight": (at(256, NAN), "holds nan at element 0"),
    },
    2: {
        "one byte short": (cut(-1), "is truncated"),
        "one byte long": (lambda data: data + b"\0", "has 1 byte too many"),
        "version 1": (word(1, 1), "bytes 37 to 255 must be zero"),
        "group_size zero": (at(37, struct.pack("<i", 0)), "group_size is 0; it must be at least 1"),
        "group_size negative": (at(37, struct.pack("<i", -4)), "group_size is -4"),
        "group_size does not divide": (at(37, struct.pack("<i", 7)), "group_size is 7, which does not divide 270 x 8"),
        "group_size absurd": (at(37, struct.pack("<i", 2**31 - 1)), "does not divide"),
        "group_size of another file": (at(37, struct.pack("<i", 8)), "bytes too many"),
        "NaN scale": (lambda data: data[:-4] + NAN, "down_proj|up_proj|gate_proj"),
        "infinite scale": (lambda data: data[:-4] + INF, "weights must be finite"),
    },
}
CASES = [
    pytest.param(version, *case, id=f"v{version} {name}")
    for version, cases in MALFORMED.items()
    for name, case in cases.items()
]


@pytest.mark.parametrize(("version", "damage", "message"), CASES)
def test_refuses_malformed_file(
    llama2c: Builder, tmp_path: Path, version: int, damage: Callable[[bytes], bytes], message: str
) -> None:
    with pytest.raises(LlgenError, match=message) as refusal:
        read(tmp_path, damage(llama2c(version).data))
    assert "\n" not in refusal.value.message
    assert refusal.value.hint


def test_refuses_unreadable_file(tmp_path: Path) -> None:
    with pytest.raises(LlgenError, match=r"cannot read .*: No such file"):
        read_llama2c(tmp_path / "missing.bin", None)


@in_tmp_path
@given(version=st.integers(0, 2), tied=st.booleans(), changes=st.data())
def test_damage_loads_or_is_refused(
    llama2c: Builder, tmp_path: Path, version: int, tied: bool, changes: st.DataObject
) -> None:
    data = bytearray(llama2c(version, tied, 2, (4, 3, 1, 2, 1, 3, 2)).data)
    # Half of the damage goes to the header, where each bit counts.
    where = st.one_of(st.integers(0, 41), st.integers(0, len(data) - 1))
    for offset, bit in changes.draw(st.lists(st.tuples(where, st.integers(0, 7)), max_size=4)):
        data[offset % len(data)] ^= 1 << bit
    size = changes.draw(st.one_of(st.just(len(data)), st.integers(0, len(data))))
    path = tmp_path / "damaged.bin"
    path.write_bytes(data[:size])
    try:
        checkpoint = read_any(path, None)
    except LlgenError:
        return
    assert all(np.isfinite(tensor).all() for tensor in checkpoint.tensors.values())


# ------------------------------------------------------------------------------------------------------ real models


@pytest.fixture(scope="module")
def stories(shared: Path) -> Callable[[str], Checkpoint]:
    return lambda suffix: read_llama2c(shared / "models" / "stories260K" / f"stories260K{suffix}.bin", None)


def test_v0_and_v1_of_one_model_are_equal(stories: Callable[[str], Checkpoint]) -> None:
    v0, v1 = stories(""), stories("_v1")
    assert v0.config == v1.config
    for name, tensor in v0.tensors.items():
        np.testing.assert_array_equal(tensor.view(np.uint32), v1.tensors[name].view(np.uint32), err_msg=name)


def test_v2_lies_within_half_a_step(stories: Callable[[str], Checkpoint]) -> None:
    exact, quantised = stories(""), stories("_v2_q80_gs8")
    assert exact.config == quantised.config
    for name, tensor in exact.tensors.items():
        got = quantised.tensors[name]
        if tensor.ndim == 1:
            np.testing.assert_array_equal(tensor, got, err_msg=name)
            continue
        # Groups of 8 lie within a row, whatever the order of the rows; their largest value is 127 steps.
        groups = tensor.reshape(-1, 8)
        step = np.abs(groups).max(axis=1, keepdims=True) / 127
        assert (np.abs(got.reshape(-1, 8) - groups) <= step * 0.501).all(), name


def test_reads_groups_of_64(shared: Path) -> None:
    checkpoint = read_llama2c(shared / "models" / "stories3M" / "stories3M_v2_q80_gs64.bin", None)
    assert checkpoint.config.n_kv_heads == 2
    assert 0.01 < float(np.std(checkpoint.tensors["model.embed_tokens.weight"])) < 1.0


@pytest.mark.parametrize("suffix", ["", "_v1"])
def test_logits_of_imported_model(stories: Callable[[str], Checkpoint], shared: Path, suffix: str) -> None:
    folder = shared / "models" / "stories260K"
    runs = json.loads((folder / "greedy.json").read_text(encoding="utf-8"))["runs"]
    with np.load(folder / "logits.npz") as recorded:
        for index, run in enumerate(runs):
            expected = recorded[f"logits_{index}"]
            actual = forward(stories(suffix), run["tokens"][: len(expected)])
            np.testing.assert_allclose(actual, expected, rtol=0, atol=2e-4)


def forward(checkpoint: Checkpoint, tokens: list[int]) -> npt.NDArray[np.float64]:
    """Logits [position, vocab] in float64, by the Hugging Face convention: RoPE rotates i with i + head_dim / 2."""
    config = checkpoint.config
    weights = {name: tensor.astype(np.float64) for name, tensor in checkpoint.tensors.items()}
    count, half = len(tokens), config.head_dim // 2
    angles = np.outer(np.arange(count), config.rope_theta ** (-np.arange(half) / half))[:, np.newaxis]

    def norm(x: Any, gain: str) -> Any:
        return x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + config.norm_eps) * weights[gain]

    def rotated(x: Any) -> Any:  # [position, head, head_dim]
        a, b = x[..., :half], x[..., half:]
        return np.concatenate([a * np.cos(angles) - b * np.sin(angles), a * np.sin(angles) + b * np.cos(angles)], -1)

    x = weights["model.embed_tokens.weight"][tokens]
    for layer in range(config.n_layers):
        prefix = f"model.layers.{layer}."
        h = norm(x, prefix + "input_layernorm.weight")
        q, k, v = (
            (h @ weights[f"{prefix}self_attn.{letter}_proj.weight"].T).reshape(count, -1, config.head_dim)
            for letter in "qkv"
        )
        k, v = (np.repeat(part, config.n_heads // config.n_kv_heads, axis=1) for part in (rotated(k), v))
        scores = np.einsum("qhd,khd->hqk", rotated(q), k) / np.sqrt(config.head_dim)
        scores += np.triu(np.full((count, count), -np.inf), 1)
        shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
        shares /= shares.sum(axis=-1, keepdims=True)
        mixed = np.einsum("hqk,khd->qhd", shares, v).reshape(count, -1)
        x = x + mixed @ weights[prefix + "self_attn.o_proj.weight"].T
        h = norm(x, prefix + "post_attention_layernorm.weight")
        gate, up = (h @ weights[f"{prefix}mlp.{name}_proj.weight"].T for name in ("gate", "up"))
        x = x + (gate / (1 + np.exp(-gate)) * up) @ weights[prefix + "mlp.down_proj.weight"].T
    logits = norm(x, "model.norm.weight") @ weights["model.embed_tokens.weight"].T
    return np.asarray(logits)
