"""The yardstick computes what the reference computes, and any compiler at hand makes it."""

from __future__ import annotations

import platform
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from models import ODD, SCALINGS, random_checkpoint

from llgen.codegen.bench import native, yardstick
from llgen.codegen.bench.engine import measure
from llgen.codegen.model.config import ModelConfig
from llgen.codegen.quantise.quantize import quantized
from llgen.codegen.reference.forward import Reference
from llgen.errors import LlgenError
from llgen.targets.schema import load_target

TOKENS = [1, 7, 300, 0, 7, 12, 255]
SHAPES = {
    "odd": ODD,
    "tied": replace(ODD, tied=True, n_kv_heads=6, n_layers=3),
    "wide heads": replace(ODD, head_dim=16, dim=40, rope_theta=10000.0),
    "scaled": replace(ODD, rope_scaling=SCALINGS["yarn, all set"]),
}


@pytest.mark.parametrize("config", SHAPES.values(), ids=SHAPES)
def test_logits_are_the_references(config: ModelConfig, tmp_path: Path) -> None:
    checkpoint = random_checkpoint(config)
    yardstick.write_weights(checkpoint, tmp_path / "weights")
    program = yardstick.compile_yardstick().program
    words = [program, tmp_path / "weights", "logits", *map(str, TOKENS)]
    out = subprocess.run(words, capture_output=True, check=True).stdout
    expected = Reference(quantized(checkpoint)).feed(TOKENS)
    found = np.frombuffer(out, np.float32).reshape(expected.shape)
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5 * float(np.abs(expected).max()))


def test_decodes(tmp_path: Path) -> None:
    yardstick.write_weights(random_checkpoint(), tmp_path / "weights")
    assert measure(yardstick.yardstick_engine(yardstick.compile_yardstick(), tmp_path / "weights", 12), 2) > 0


def test_zig_compiles_it_where_there_is_nothing_else(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(native.shutil, "which", lambda name: None)
    made = yardstick.compile_yardstick()
    assert made.compiler == "zig cc -O3 -ffast-math -march=native -fno-sanitize=undefined"
    yardstick.write_weights(random_checkpoint(), tmp_path / "weights")
    assert measure(yardstick.yardstick_engine(made, tmp_path / "weights", 12), 1) > 0


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists() or platform.machine() != "x86_64", reason="of x86-64 processors")
@pytest.mark.parametrize("compiler", ["gcc", "zig cc"])
def test_the_yardstick_may_have_the_vectors_of_the_target(
    compiler: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if compiler == "zig cc":
        monkeypatch.setattr(native.shutil, "which", lambda name: None)
    for target, march, isa in (("x86_64", "x86-64", "SSE2"), ("x86_64_v3", "x86-64-v3", "AVX2, FMA")):
        assert native.march_of(load_target(target)) == march
        made = yardstick.compile_yardstick(march)
        assert made.compiler.startswith(compiler)
        assert f"-march={march}" in made.compiler.replace("_", "-")
        assert made.isa == isa
    assert native.march_of(load_target("generic")) is None
    assert "-march" not in yardstick.compile_yardstick(None).compiler


def test_a_compiler_that_fails_makes_room_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native.shutil, "which", lambda name: "/bin/false" if name == "gcc" else None)
    assert yardstick.compile_yardstick().compiler.startswith("zig cc ")


def test_weights_that_end_early_are_told(tmp_path: Path) -> None:
    yardstick.write_weights(random_checkpoint(), tmp_path / "weights")
    (tmp_path / "weights").write_bytes((tmp_path / "weights").read_bytes()[:-4])
    with pytest.raises(LlgenError, match="too short"):
        measure(yardstick.yardstick_engine(yardstick.compile_yardstick(), tmp_path / "weights", 12), 1)
