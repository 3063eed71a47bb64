"""The stack that a header promises holds for every processor, compiler and model, and a target's stack is known."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace

import pytest
from generated import write_files
from models import ODD, random_checkpoint, trained_vocabulary

from llgen.codegen.build.folder import build
from llgen.codegen.compile import measure as fit
from llgen.codegen.compile.measure import measure
from llgen.codegen.compile.toolchain import compile_objects
from llgen.codegen.plan.stack import CALLS, promised_stack, registers
from llgen.codegen.quantise.quantize import quantized
from llgen.codegen.render import pipeline
from llgen.codegen.render.pipeline import generate
from llgen.codegen.words.flags import NUMERIC_FLAGS
from llgen.errors import ExitCode, LlgenError
from llgen.targets.instruction_sets import select
from llgen.targets.schema import load_target

PROCESSORS = {
    None: ["baseline", "native", "x86_64_v2", "x86_64_v3", "x86_64_v4", "znver4", "sapphirerapids"],
    "aarch64-linux-musl": ["generic", "neoverse_v2", "apple_m1"],
    "riscv64-linux-musl": ["baseline", "baseline+v", "generic_rv64"],
    "arm-linux-musleabihf": ["generic+v7a+neon"],
    "thumb-freestanding-eabi": ["cortex_m0plus"],
    "thumb-freestanding-eabihf": ["cortex_m4+vfp4d16sp"],
    "powerpc64le-linux-musl": ["baseline"],
    "loongarch64-linux-musl": ["baseline"],
}
"""By triple, what plain C is compiled for. Nothing is run, so that the machine at hand needs none of it."""

HEADS_OF_8 = replace(ODD, dim=64, n_layers=2, n_heads=8, n_kv_heads=4, head_dim=8, tied=True)


def plain_c(triple, cpu):
    """The generic target, for another processor; by a triple where the machine at hand is none of its family."""
    target = load_target("generic")
    if triple is None:
        triple = "x86_64-linux-musl" if cpu not in ("baseline", "native") else None
    return target.model_copy(update={"compiler": target.compiler.model_copy(update={"triple": triple, "cpu": cpu})})


@pytest.mark.parametrize("scheme", ["f32", "q8", "q4"])
@pytest.mark.parametrize(("triple", "cpu"), [(triple, cpu) for triple, names in PROCESSORS.items() for cpu in names])
def test_plain_c_keeps_its_promise_on_every_processor(triple, cpu, scheme, tmp_path):
    model = quantized(random_checkpoint(HEADS_OF_8 if scheme == "q8" else ODD), scheme)
    generation = generate(model, plain_c(triple, cpu))
    write_files(generation, tmp_path)
    objects = compile_objects(tmp_path, generation.model_sources, plain_c(triple, cpu), tmp_path)
    assert 0 < measure(objects).stack <= generation.stack_bytes


def test_generic_is_the_same_program_on_every_processor_of_a_family():
    compiler = load_target("generic").compiler
    assert (compiler.triple, compiler.cpu) == (None, "baseline")
    assert registers(load_target("generic")) == registers(load_target("x86_64_avx512vnni"))


@pytest.mark.parametrize("options", ["-O1", "-Os", "-O3 -march=native -funroll-loops"])
@pytest.mark.parametrize("scheme", ["f32", "q8", "q4"])
def test_plain_c_by_gcc_keeps_it_too(scheme, options, tmp_path, tool):
    """GCC tells frames and no calls: the largest of them, as many as may be on their way at once."""
    gcc = tool("gcc", "gcc")
    generation = generate(quantized(random_checkpoint(), scheme), load_target("generic"))
    write_files(generation, tmp_path)
    words = [gcc, *NUMERIC_FLAGS, *options.split(), "-fstack-usage", "-c", *generation.model_sources]
    subprocess.run(words, cwd=tmp_path, check=True, capture_output=True)
    frames = [int(line.split("\t")[1]) + 8 for path in tmp_path.glob("*.su") for line in path.read_text().splitlines()]
    assert len(frames) > CALLS
    assert sum(sorted(frames)[-CALLS:]) <= generation.stack_bytes


@pytest.mark.parametrize("name", ["cortex_m4f", "cortex_m0plus", "aarch64", "x86_64_v3"])
@pytest.mark.parametrize("kv", ["f32", "q8"])
def test_long_heads_and_long_pieces_have_their_room(name, kv, tmp_path):
    """Both stand on the stack: sums of a head, and the text of a piece."""
    config = replace(
        ODD, dim=256, n_heads=1, n_kv_heads=1, head_dim=256, tied=True, vocab_size=len(trained_vocabulary())
    )
    vocabulary = trained_vocabulary()
    longest = replace(vocabulary.pieces[-1], text="x" * 3000)
    vocabulary = replace(vocabulary, pieces=(*vocabulary.pieces[:-1], longest))
    checkpoint = random_checkpoint(config, vocabulary=vocabulary)
    generation = generate(quantized(checkpoint, "q8", kv), load_target(name))
    write_files(generation, tmp_path)
    objects = compile_objects(tmp_path, generation.model_sources, load_target(name), tmp_path)
    assert 3000 < measure(objects).stack <= generation.stack_bytes


def test_a_compiler_that_takes_more_makes_a_header_that_promises_more(tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline, "promised_stack", lambda *given, **more: 64)
    result = build(random_checkpoint(), load_target("generic"), tmp_path / "c")
    promised = re.search(r"^#define ODD_STACK_BYTES +(\d+)", (tmp_path / "c" / "odd.h").read_text(), re.MULTILINE)
    assert 64 < result.facts["stack_bytes"] <= int(promised[1]) < result.facts["stack_bytes"] + 64
    assert f"at most {int(promised[1]):,} bytes" in (tmp_path / "c" / "odd.h").read_text()


def test_a_set_with_larger_registers_promises_room_for_them_in_two_functions():
    model, target = quantized(random_checkpoint()), load_target("riscv64")
    isa = select(target.isa)
    more = promised_stack(model, replace(isa, register_bytes=2048), target) - promised_stack(model, isa, target)
    assert more == 2 * (2048 - registers(target).vectors)
    assert promised_stack(model, replace(isa, register_bytes=64), target) == promised_stack(model, isa, target)


def test_scalar_q8_on_riscv64_builds(tmp_path):
    """Registers of 64 bits put twice as much aside as those of 32."""
    target = load_target("riscv64").model_copy(update={"isa": ("scalar",)})
    result = build(quantized(random_checkpoint(HEADS_OF_8), "q8"), target, tmp_path / "c")
    assert result.facts["stack_bytes"] > 0


def test_a_program_deeper_than_the_targets_stack_is_refused_with_the_size_that_would_do(tmp_path):
    config = replace(ODD, dim=768, n_heads=1, n_kv_heads=1, head_dim=768)
    target = load_target("cortex_m4f")
    small = target.model_copy(update={"firmware": target.firmware.model_copy(update={"stack_bytes": 2048})})
    model = quantized(random_checkpoint(config), "q8")
    with pytest.raises(LlgenError) as caught:
        build(model, small, tmp_path / "c")
    assert caught.value.exit_code == ExitCode.DOES_NOT_FIT
    assert "bytes of stack; 'cortex_m4f' has 2,048" in caught.value.message
    size = int(re.fullmatch(r"stack_bytes = (\d+) under \[firmware\] of the target's file", caught.value.hint)[1])
    large = target.model_copy(update={"firmware": target.firmware.model_copy(update={"stack_bytes": size})})
    assert build(model, large, tmp_path / "d").facts["stack_bytes"] < size - fit.LIBRARY_BYTES
