"""One model, one digest, on every target: the promise that all others rest on."""

import subprocess
from dataclasses import replace

import pytest
from generated import write_files
from models import MIXED, ODD, four_bits_everywhere, of_many_forms, random_checkpoint

from llgen.codegen.build.folder import build_cached, expected_trace
from llgen.codegen.compile.toolchain import Artifact, compile_objects, link
from llgen.codegen.formats.detect import read_any
from llgen.codegen.formats.hf.directory import load_checkpoint
from llgen.codegen.plan.fit import fitting_context
from llgen.codegen.quantise.quantize import quantized
from llgen.codegen.render.pipeline import generate
from llgen.codegen.run.runner import run_selftest
from llgen.targets.instruction_sets import select
from llgen.targets.schema import load_target, target_names

RUN = [name for name in target_names() if load_target(name).runner]
BUILT_ONLY = sorted(set(target_names()) - set(RUN))
GCC = [name for name in RUN if load_target(name).compiler.gcc]


@pytest.mark.parametrize(("scheme", "kv"), [("f32", "f32"), ("q8", "f32"), ("q8", "q8"), ("q4", "q8")])
@pytest.mark.parametrize("name", RUN)
def test_odd_sizes(name, scheme, kv, odd, runnable):
    target = runnable(name)
    model = quantized(odd, scheme, kv)
    assert run_selftest(build_cached(model, target).artifact, 64) == expected_trace(model, 64)


@pytest.mark.parametrize(("scheme", "dim", "block"), [("q8", 192, 64), ("q4", 160, 32)])
@pytest.mark.parametrize("name", RUN)
def test_mixed_channels(name, scheme, dim, block, runnable):
    model = quantized(random_checkpoint(replace(MIXED, dim=dim), name="mixed"), scheme)
    assert model.gain_block == block
    assert run_selftest(build_cached(model, runnable(name)).artifact, 12) == expected_trace(model, 12)


@pytest.mark.parametrize("name", RUN)
def test_four_bits_everywhere(name, runnable):
    model = four_bits_everywhere()
    assert model.embedding.bits == 4
    assert run_selftest(build_cached(model, runnable(name)).artifact, 12) == expected_trace(model, 12)


@pytest.mark.parametrize("name", RUN)
def test_weights_of_4_5_6_and_8_bits(name, runnable):
    model = of_many_forms(random_checkpoint(replace(ODD, tied=True), name="forms"), embedding=5)
    assert model.bits_used == {4, 5, 6, 8}
    assert run_selftest(build_cached(model, runnable(name)).artifact, 12) == expected_trace(model, 12)


@pytest.mark.parametrize("name", RUN)
def test_stories260k(name, shared, runnable):
    target = runnable(name)
    folder = shared / "models" / "stories260K"
    checkpoint = read_any(folder / "stories260K.bin", folder / "tok512.model")
    model = quantized(checkpoint)
    fitting = model.for_context(fitting_context(model, select(target.isa), target))
    assert run_selftest(build_cached(fitting, target).artifact, 64).digest_hex == "384eba0c"


@pytest.mark.parametrize("name", BUILT_ONLY)
def test_targets_that_cannot_run_here_are_built(name, fox):
    built = build_cached(quantized(load_checkpoint(fox)), load_target(name))
    assert built.artifact.path.stat().st_size > 10_000


def test_the_makefile_of_a_board_needs_no_llgen(odd, runnable, tool, tmp_path):
    """One call of GCC, all sources at once: the linker script must not depend on the names of object files."""
    target = runnable("cortex_m4f")
    tool(target.compiler.gcc[0], "gcc-arm-none-eabi")
    generation = generate(odd, target)
    write_files(generation, tmp_path)
    subprocess.run(
        [tool("make", "make"), f"CC={' '.join(target.compiler.gcc)}"], cwd=tmp_path, check=True, capture_output=True
    )
    artifact = Artifact(tmp_path / generation.words.build.artifact, target)
    assert run_selftest(artifact, 20) == expected_trace(generation.model, 20)


@pytest.mark.parametrize(("scheme", "kv"), [("f32", "f32"), ("q8", "q8"), ("q4", "q8")])
@pytest.mark.parametrize("name", GCC)
def test_gcc_makes_the_same_bits_without_a_warning(name, scheme, kv, odd, runnable, tool, tmp_path):
    target = runnable(name)
    tool(target.compiler.gcc[0], "gcc-arm-none-eabi")
    generation = generate(quantized(odd, scheme, kv), target)
    write_files(generation, tmp_path)
    objects = compile_objects(tmp_path, generation.sources, target, tmp_path, compiler=target.compiler.gcc)
    artifact = link(objects, target, tmp_path / generation.words.build.artifact, compiler=target.compiler.gcc)
    assert run_selftest(artifact, 20) == expected_trace(generation.model, 20)
