"""Instructions a token, and where they go: figures that must not grow."""

from __future__ import annotations

import json

import pytest

from llgen.codegen.build import build_cached
from llgen.codegen.counting import instructions_per_token, profile, unprofiled
from llgen.codegen.formats.detect import read_any
from llgen.codegen.pipeline import quantized
from llgen.targets.schema import load_target

# stories260K, mean of the positions 0 to 63: what was reached, and a hundredth more for other compilers.
MOST = {
    ("cortex_m4f", "q8"): 450_000,
    ("cortex_m4f", "q4"): 555_000,
    ("cortex_m4f", "f32"): 1_105_000,
    ("cortex_m55", "q8"): 155_000,
    ("cortex_m3", "q8"): 1_755_000,
    ("cortex_m3", "q4"): 1_750_000,
    ("riscv32_imac", "q8"): 2_195_000,
    ("riscv32_imac", "q4"): 2_215_000,
    ("cortex_m0plus", "q8"): 3_015_000,
    ("cortex_m0plus", "q4"): 3_405_000,
}


@pytest.mark.parametrize(("name", "scheme"), MOST)
def test_instructions_of_stories260k(name, scheme, shared, runnable):
    target = runnable(name)
    model = quantized(read_any(shared / "models" / "stories260K" / "stories260K.bin", None), scheme)
    counted = instructions_per_token(build_cached(model, target).artifact, 64)
    assert counted is not None
    assert counted <= MOST[name, scheme]


@pytest.mark.parametrize("name", ["cortex_m3", "riscv32_imac"])
def test_a_profile_adds_up(name, odd, runnable):
    """A block counts for the function that it begins in, and start-up and end are taken off: so nearly, not quite."""
    artifact = build_cached(quantized(odd, "q8"), runnable(name)).artifact
    counted, parts = instructions_per_token(artifact, 16), profile(artifact, 16)
    assert counted is not None
    assert counted == pytest.approx(sum(parts.values()), rel=0.02)
    assert list(parts.values()) == sorted(parts.values(), reverse=True)
    assert {"product", "exp_v"} <= set(parts)


def test_a_program_without_names_has_no_profile(odd, runnable):
    assert profile(build_cached(quantized(odd, "q8"), runnable("armv7")).artifact, 4) == {}


@pytest.mark.parametrize("name", ["armv7", "x86_64_v3", "cortex_m4f"])
def test_bench_says_where_instructions_go(name, command, fox, runnable):
    problem = unprofiled(runnable(name))
    if problem:
        pytest.skip(problem)
    words = ["bench", fox, "--target", name, "--schemes", "q8", "--positions", 8, "--prefill", 0, "--profile"]
    code, out, err = command(*words, "--against", "none", "--rounds", 1, "--no-instructions", "--json")
    assert code == 0, err
    (row,) = json.loads(out)["profiles"]
    assert (row["target"], row["scheme"], row["positions"]) == (name, "q8", 8)
    names = set(row["functions"])
    assert any("product" in function for function in names)
    assert any("attend" in function for function in names)
    assert list(row["functions"].values()) == sorted(row["functions"].values(), reverse=True)


def test_what_no_qemu_runs_has_no_profile():
    assert "no QEMU runs programs for 'wasm32_wasi'" in unprofiled(load_target("wasm32_wasi"))
