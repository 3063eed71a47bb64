"""Tunings: files that are checked, sizes that change speed and no bit, and builds that say which they have."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from generated import Library
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from models import ODD, random_checkpoint

from llgen.codegen.build.folder import build, build_cached
from llgen.codegen.compile.toolchain import zig_environment
from llgen.codegen.plan.tuning import Values, purpose_of, read_values, tuned, useful_names
from llgen.codegen.quantise.quantize import QuantModel, quantized
from llgen.codegen.reference.forward import Reference
from llgen.codegen.render.pipeline import generate
from llgen.errors import LlgenError
from llgen.targets.instruction_sets import select
from llgen.targets.schema import Target, load_target

TOKENS = [(37 * i + 5) % ODD.vocab_size for i in range(40)]
MODELS = {
    (scheme, kv): quantized(random_checkpoint(replace(ODD, tied=scheme == "q8")), scheme, kv)
    for scheme, kv in [("f32", "f32"), ("q8", "f32"), ("q8", "q8"), ("q4", "q8")]
}
EXPECTED = {numbers: Reference(model).feed(TOKENS) for numbers, model in MODELS.items()}


def target_of(isa: str) -> Target:
    """A target of this machine with kernels that may be another's."""
    return load_target("x86_64_v3" if isa == "avx2" else "generic").model_copy(update={"isa": (isa,)})


def require_bits(values: Values, model: QuantModel, target: Target, folder: Path) -> None:
    """Prefill and stepping compute what Python computes."""
    expected = EXPECTED[model.scheme, model.kv]
    library = Library(model, folder, target, tuning=values)
    assert library.prefill(TOKENS[:33]) == 0
    np.testing.assert_array_equal(library.logits().view(np.uint32), expected[32].view(np.uint32))
    for token, logits in zip(TOKENS[33:], expected[33:], strict=True):
        assert library.eval(token) == 0
        np.testing.assert_array_equal(library.logits().view(np.uint32), logits.view(np.uint32))


# ---------------------------------------------------------------------------------------------------- the same bits

ODD_SIZES = [
    ("scalar", "f32", "f32", Values(accumulators=1, prefill=1)),
    ("scalar", "f32", "f32", Values(accumulators=16, float_tiles=((3, 8), (1, 1)), prefill=5)),
    ("scalar", "q8", "q8", Values(int_accumulators=1, int_tiles=((16, 1), (1, 1)), prefill=33)),
    ("scalar", "q4", "q8", Values(int_accumulators=8, four_tiles=((5, 8), (2, 1), (1, 2)), prefill=7)),
    ("scalar", "q8", "f32", Values(accumulators=2, int_accumulators=16, float_tiles=((1, 4),), prefill=2)),
    ("scalar", "q8", "q8", Values(int_accumulators=16, prefill=1)),
    ("serial", "q4", "q8", Values(int_accumulators=2, prefill=1)),
    ("soft", "q8", "q8", Values(int_accumulators=2, prefill=1)),
    ("soft_rv32", "q8", "q8", Values(int_accumulators=2, prefill=1)),
    ("soft_rv32", "q4", "q8", Values(int_accumulators=2, int_tiles=((2, 2), (1, 1)), prefill=4)),
    ("avx2", "f32", "f32", Values(accumulators=1, float_tiles=((7, 1), (1, 2)), prefill=256)),
    ("avx2", "q8", "q8", Values(int_accumulators=8, int_tiles=((3, 2), (1, 8)), least_parallel=0)),
    ("avx2", "q4", "q8", Values(int_accumulators=2, four_tiles=((9, 2), (4, 1), (1, 2)), prefill=17)),
]


@pytest.mark.skipif(not shutil.which("gcc"), reason="apt-get install gcc")
@pytest.mark.parametrize(("isa", "scheme", "kv", "values"), ODD_SIZES)
def test_odd_sizes_keep_the_bits(isa: str, scheme: str, kv: str, values: Values, tmp_path: Path) -> None:
    require_bits(values, MODELS[scheme, kv], target_of(isa), tmp_path)


HEIGHTS = st.sampled_from([1, 2, 4, 8, 16])
TILES = st.dictionaries(st.integers(2, 16), st.sampled_from([1, 2, 4, 8]), max_size=2).flatmap(
    lambda tiles: st.sampled_from([1, 2, 4, 8]).map(lambda last: (*sorted(tiles.items(), reverse=True), (1, last)))
)


@pytest.mark.skipif(not shutil.which("gcc"), reason="apt-get install gcc")
@pytest.mark.parametrize("isa", ["scalar", "avx2"])
@settings(max_examples=4, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
@given(data=st.data())
def test_any_sizes_keep_the_bits(isa: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    model, target = MODELS[data.draw(st.sampled_from(sorted(MODELS)))], target_of(isa)
    prefill = data.draw(st.integers(1, 70), "prefill")
    drawn: dict[str, Any] = {"prefill": prefill}
    for name in useful_names(model, target, prefill):
        if name.endswith("accumulators"):
            drawn[name] = data.draw(HEIGHTS, name)
        elif name.endswith("tiles"):
            drawn[name] = data.draw(TILES, name)
    values = Values(**drawn)
    try:
        tuned(select(target.isa), values)
    except LlgenError:
        assume(False)
    require_bits(values, model, target, tmp_path_factory.mktemp("tuned"))


# ---------------------------------------------------------------------------------------------------------- the file

GOOD = """
[for]
target = "x86_64_v3"
scheme = "q8"
kv = "q8"
shape = { dim = 36, hidden_dim = 172, n_layers = 1, n_heads = 6, n_kv_heads = 2, head_dim = 6, vocab_size = 301 }

[values]
prefill = 32
int_tiles = [[4, 2], [1, 4]] # a comment
"""
MODEL = MODELS["q8", "q8"]


def read(text: str, folder: Path, target: str = "x86_64_v3", model: QuantModel = MODEL) -> Values:
    path = folder / "tuning.toml"
    path.write_text(text, encoding="utf-8")
    return read_values(path, model, load_target(target))


def test_a_file_holds_values(tmp_path: Path) -> None:
    assert read(GOOD, tmp_path) == Values(prefill=32, int_tiles=((4, 2), (1, 4)))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("prefill", "prefil", "values.prefil is not a key of a tuning"),
        ('kv = "q8"', 'kv = "q8"\nsheme = "q8"', "for.sheme is not a key of a tuning"),
        ("dim = 36, ", "", "for.shape.dim is wrong: Field required"),
        ("prefill = 32", "prefill = 257", "values.prefill is wrong: Input should be less than or equal to 256"),
        ("prefill = 32", "prefill = 0", "values.prefill is wrong"),
        ("prefill = 32", 'prefill = "many"', "values.prefill is wrong"),
        ("prefill = 32", "int_accumulators = 3", "values.int_accumulators is wrong: Input should be 1, 2, 4, 8 or 16"),
        ("[4, 2]", "[4, 3]", "values.int_tiles is wrong: Input should be 1, 2, 4 or 8"),
        ("[4, 2]", "[17, 2]", "values.int_tiles is wrong"),
        ("[4, 2]", "[4]", "values.int_tiles is wrong"),
        ("[4, 2]", "[4, 8]", "int_tiles has a tile of 8 vectors; a block of rows has 4"),
        (", [1, 4]", "", "int_tiles must go down to 1 position"),
        ("[4, 2], [1, 4]", "[1, 4], [4, 2]", "int_tiles must go down to 1 position"),
        ("prefill = 32", "long_tiles = [[1, 2]]", "long_tiles has no use"),
        ("prefill = 32", "float_tiles = [[1, 2]]", "float_tiles has no use for scheme 'q8' with 'q8' keys"),
        ("prefill = 32", "prefill = 1", "int_tiles has no use"),
        ("[values]", "[values", "is not valid TOML"),
        ("[values]", "[[values]]", "values is wrong"),
        ('target = "x86_64_v3"', 'target = "armv7"', "is a tuning for target 'armv7', not 'x86_64_v3'"),
        ('scheme = "q8"', 'scheme = "q4"', "is a tuning for scheme 'q4', not 'q8'"),
        ('kv = "q8"', 'kv = "f32"', "is a tuning for kv 'f32', not 'q8'"),
        ("n_layers = 1", "n_layers = 5", "is a tuning for a model of n_layers 5, not 1"),
    ],
)
def test_what_is_wrong_is_named(old: str, new: str, words: str, tmp_path: Path) -> None:
    assert old in GOOD
    with pytest.raises(LlgenError) as caught:
        read(GOOD.replace(old, new), tmp_path)
    assert words in caught.value.message
    assert "tuning.toml" in caught.value.message
    assert "\n" not in caught.value.message


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(LlgenError, match=r"cannot read the tuning '.*none': No such file"):
        read_values(tmp_path / "none", MODEL, load_target("x86_64_v3"))


@pytest.mark.parametrize(
    ("isa", "values", "words"),
    [
        ("helium", Values(int_accumulators=2), "int_accumulators is 2; this target needs at least 4"),
        ("dsp", Values(int_accumulators=8), "int_accumulators can only be 4"),
        ("soft_narrow", Values(int_accumulators=2), "int_accumulators can only be 1"),
        ("avx512vnni", Values(accumulators=1), "accumulators must be even"),
        ("neon", Values(long_tiles=((1, 1),)), "long_tiles has no use"),
    ],
)
def test_what_kernels_cannot_do_is_refused(isa: str, values: Values, words: str) -> None:
    with pytest.raises(LlgenError, match=words):
        tuned(select([isa]), values)


def test_smaller_blocks_have_smaller_tiles() -> None:
    kernels = tuned(select(["avx2"]), Values(int_accumulators=2))
    assert max(tile.vectors for tile in (*kernels.int_tiles, *kernels.four_tiles)) == 2
    assert kernels.float_tiles == select(["avx2"]).float_tiles


def test_no_tuning_changes_nothing() -> None:
    for isa in ("avx2", "avx512vnni", "helium", "dsp", "soft_narrow", "scalar"):
        assert tuned(select([isa]), Values()) == select([isa])


# ------------------------------------------------------------------------------------------------------------ builds


def test_a_build_says_which_tuning_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target, values = load_target("x86_64"), Values(prefill=16, int_tiles=((2, 1), (1, 4)))
    facts = build(MODEL, target, tmp_path / "tuned", tuning=values).facts
    manifest = json.loads((tmp_path / "tuned" / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["tuning"] == facts["tuning"] == {"prefill": 16, "int_tiles": [[2, 1], [1, 4]]}
    assert build(MODEL, target, tmp_path / "tuned", tuning=values).written == ()  # up to date
    assert facts["prefill"] == 16
    assert build(MODEL, target, tmp_path / "asked", tuning=values, prefill=8).facts["prefill"] == 8
    for name in ("ZIG_GLOBAL_CACHE_DIR", "ZIG_LOCAL_CACHE_DIR"):
        monkeypatch.setenv(name, zig_environment()[name])
    monkeypatch.setenv("LLGEN_CACHE_DIR", str(tmp_path / "cache"))
    plain, other = build_cached(MODEL, target), build_cached(MODEL, target, tuning=values)
    assert plain.directory != other.directory
    assert plain.facts["tuning"] is None
    assert plain.facts["digest"] == other.facts["digest"]


def test_a_purpose_is_what_decides_speed() -> None:
    assert purpose_of(MODEL, load_target("x86_64")) == purpose_of(replace(MODEL, name="x"), load_target("x86_64"))
    assert (
        generate(MODEL, load_target("generic")).files == generate(MODEL, load_target("generic"), tuning=Values()).files
    )
