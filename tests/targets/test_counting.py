"""Instructions a token, and where they go: figures that must not grow."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.metadata import version

import pytest

from llgen.codegen.build.folder import build, build_cached
from llgen.codegen.formats.detect import read_any
from llgen.codegen.quantise.quantize import quantized
from llgen.codegen.run import counting
from llgen.codegen.run.counting import instructions_per_token, profile, uncountable, unprofiled
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
    ("riscv64_v", "q8"): 125_000,
    ("riscv64_v", "q4"): 133_000,
    ("riscv64_v", "f32"): 210_000,
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
def test_bench_says_where_instructions_go(name, llgen, fox, runnable):
    problem = unprofiled(runnable(name))
    if problem:
        pytest.skip(problem)
    words = ["bench", fox, "--target", name, "--schemes", "q8", "--positions", 8, "--prefill", 0, "--profile"]
    code, out, err = llgen(*words, "--against", "none", "--rounds", 1, "--no-instructions", "--json")
    assert code == 0, err
    (row,) = json.loads(out)["profiles"]
    assert (row["target"], row["scheme"], row["positions"]) == (name, "q8", 8)
    names = set(row["functions"])
    assert any("product" in function for function in names)
    assert any("attend" in function for function in names)
    assert list(row["functions"].values()) == sorted(row["functions"].values(), reverse=True)


def test_what_no_qemu_runs_has_no_profile():
    assert "no QEMU runs programs for 'wasm32_wasi'" in unprofiled(load_target("wasm32_wasi"))


@pytest.mark.parametrize("name", ["cortex_m4f", "riscv32_imac"])
def test_the_clock_of_a_board_has_no_part_in_a_count(name, odd, runnable, tmp_path):
    """The emulated machine has its own; of a board at 480 MHz, 15 times too few were counted."""
    target = runnable(name)
    model, counts = quantized(odd, "q8"), set()
    for clock in (64_000_000, target.firmware.clock_hz, 480_000_000):
        firmware = target.firmware.model_copy(update={"clock_hz": clock})
        board = target.model_copy(update={"firmware": firmware, "name": f"at_{clock}"})
        counts.add(instructions_per_token(build(model, board, tmp_path / str(clock)).artifact, 8))
    assert len(counts) == 1
    assert counts.pop() > 10_000


def test_no_speed_is_told_of_a_bare_machine_in_an_emulator(llgen, fox, runnable):
    runnable("cortex_m4f")
    code, _, err = llgen("run", fox, "the", "--target", "cortex_m4f", "-n", 3, "--seed", 5)
    assert code == 0
    assert "a second" not in err
    assert "seed 5" in err
    code, out, _ = llgen("run", fox, "the", "--target", "cortex_m4f", "-n", 3, "--json")
    assert json.loads(out)["tokens_per_second"] is None


def test_a_qemu_without_plugins_is_told(odd, runnable, monkeypatch):
    artifact = build_cached(quantized(odd, "q8"), runnable("cortex_m4f")).artifact
    monkeypatch.setattr(counting, "_takes_plugins", lambda emulator: False)
    assert uncountable(artifact) == "this 'qemu-system-arm' takes no plugins, which count instructions"
    assert instructions_per_token(artifact, 4) is None


COPY = """
(module
  (memory (export "memory") 1)
  (func (export "_start") (memory.copy (i32.const 0) (i32.const 8192) (i32.const {count}))))
"""


def fuel(folder, count):
    """What a copy of so many bytes costs, in wasmtime's fuel."""
    wasmtime = pytest.importorskip("wasmtime", reason="pip install wasmtime")
    program = folder / "copy.wasm"
    program.write_bytes(wasmtime.wat2wasm(COPY.format(count=count)))
    words = [sys.executable, "-m", "llgen.codegen.run.wasi_run", str(program)]
    done = subprocess.run(words, capture_output=True, text=True, check=True, env={**os.environ, "LLGEN_FUEL": "1"})
    return int(re.search(r"^fuel (\d+)$", done.stderr, re.MULTILINE)[1])


def test_a_copy_in_webassembly_counts_a_byte_as_an_instruction(tmp_path, runnable):
    runnable("wasm32_wasi")
    found = version("wasmtime")
    if int(found.partition(".")[0]) < counting.WASMTIME:
        pytest.skip(f"wasmtime {found} counts copies otherwise; pip install -U wasmtime")
    assert fuel(tmp_path, 1000) - fuel(tmp_path, 0) == 1000
    assert fuel(tmp_path, 7000) - fuel(tmp_path, 1000) == 6000


def test_a_wasmtime_that_counts_otherwise_counts_nothing(odd, runnable, monkeypatch):
    artifact = build_cached(quantized(odd), runnable("wasm32_wasi")).artifact
    monkeypatch.setattr(counting, "version", lambda package: "45.0.0")
    assert "wasmtime 45.0.0 counts a memory.copy as one" in uncountable(artifact)
    assert instructions_per_token(artifact, 4) is None
    monkeypatch.setattr(counting, "version", lambda package: "46.0.1")
    assert uncountable(artifact) is None
