"""A baked prompt: the bits of evaluating it, from flash."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
from generated import Library, SamplerStruct, write_files
from models import ODD, random_checkpoint, talking_checkpoint

from llgen.codegen.build.folder import build_cached
from llgen.codegen.check.parity import first_divergence
from llgen.codegen.compile.toolchain import compile_objects
from llgen.codegen.formats.hf.directory import save_checkpoint
from llgen.codegen.plan.extras import Extras
from llgen.codegen.plan.fit import require_fit
from llgen.codegen.plan.prompt import bake
from llgen.codegen.quantise.quantize import quantized
from llgen.codegen.render.pipeline import generate
from llgen.codegen.run.emulator import missing_emulator
from llgen.errors import ExitCode, LlgenError
from llgen.targets.schema import load_target

NUMBERS = [("f32", "f32"), ("q8", "f32"), ("q8", "q8"), ("q4", "q8")]
TOKENS = [(37 * i + 5) % ODD.vocab_size for i in range(ODD.max_seq_len)]
TEXT = "the little fox asked: Where is my ball?"


MACHINES = [("x86_64_v3", 24), ("x86_64_avx512vnni", 24), ("x86_64", 1), ("generic", 1)]
LENGTHS = [2, 9, 34, ODD.max_seq_len - 1]  # within a group of 4, 8, 16 or 32 positions, at its end, or behind it
CASES = [
    (*machine, *numbers, LENGTHS[(at + of) % len(LENGTHS)])
    for at, machine in enumerate(MACHINES)
    for of, numbers in enumerate(NUMBERS)
]


@pytest.mark.parametrize(("name", "prefill", "scheme", "kv", "length"), CASES)
def test_the_bits_of_evaluating_it(name, prefill, scheme, kv, length, tmp_path):
    target = load_target(name)
    if missing_emulator(target):
        pytest.skip(missing_emulator(target))
    model = quantized(random_checkpoint(), scheme, kv)
    extras = Extras(prompt=bake(model, TOKENS[:length]))
    library = Library(model, tmp_path, name, prefill=prefill, extras=extras)
    expected = []
    for token in TOKENS:
        assert library.eval(token) == 0
        expected.append(library.logits())
    assert library.function("begin")(library.state) == 0  # over what is there
    assert library.tokens() == TOKENS[:length]
    for at in range(length, len(TOKENS) + 1):
        np.testing.assert_array_equal(library.logits().view(np.uint32), expected[at - 1].view(np.uint32))
        if at < len(TOKENS):
            assert library.eval(TOKENS[at]) == 0
    library.state[:] = b"\xff" * len(library.state)  # NaNs, everywhere
    assert library.function("begin")(library.state) == -5  # never reset
    library.reset()
    assert library.function("begin")(library.state) == 0
    assert library.prefill(TOKENS[length:]) == 0
    np.testing.assert_array_equal(library.logits().view(np.uint32), expected[-1].view(np.uint32))
    assert library.function("begin")(None) == -1


@pytest.mark.parametrize("isa", ["scalar", "serial", "dsp", "soft_narrow", "soft_rv32", "helium", "neon", "avx2"])
@pytest.mark.parametrize(("scheme", "kv"), NUMBERS)
def test_flash_is_counted_and_ram_is_the_same(isa, scheme, kv):
    target = load_target("generic").model_copy(update={"isa": (isa,)})
    model = quantized(random_checkpoint(), scheme, kv)
    for length in (2, 11, 40):
        for prefill in (1, 8):
            extras = Extras(prompt=bake(model, TOKENS[:length]))
            plain, baked = (generate(model, target, prefill=prefill, extras=e) for e in (Extras(), extras))
            arrays = [tensor for tensor in baked.packed.tensors if tensor.name.startswith("prompt_")]
            assert baked.memory.sections["prompt"] == sum(len(array.data) for array in arrays)
            assert baked.memory.rodata_bytes - plain.memory.rodata_bytes == baked.memory.sections["prompt"]
            assert baked.memory.ram_bytes == plain.memory.ram_bytes


def test_a_prompt_that_does_not_fit_flash_is_refused():
    target = load_target("cortex_m4f")
    model = quantized(random_checkpoint(), "q8")
    plain = generate(model, target)
    regions = tuple(
        region.model_copy(update={"length": plain.memory.rodata_bytes + (32 << 10) + 100})
        if "weights" in region.holds
        else region
        for region in target.firmware.memory
    )
    target = target.model_copy(update={"firmware": target.firmware.model_copy(update={"memory": regions})})
    require_fit(model, plain.kernels, plain.memory, target)
    baked = generate(model, target, extras=Extras(prompt=bake(model, TOKENS[:20])))
    with pytest.raises(LlgenError, match="bytes of") as caught:
        require_fit(model, baked.kernels, baked.memory, target)
    assert "--bake-prompt" in caught.value.hint
    assert caught.value.exit_code == ExitCode.DOES_NOT_FIT


def test_the_context_has_room_for_the_prompt_and_more():
    model = quantized(random_checkpoint())
    prompt = bake(model, TOKENS[:30])
    for refused in (lambda: bake(model, TOKENS), lambda: generate(
        model.for_context(30), load_target("generic"), extras=Extras(prompt=prompt))):  # fmt: skip
        with pytest.raises(LlgenError, match="and needs one more position"):
            refused()
    generate(model.for_context(31), load_target("generic"), extras=Extras(prompt=prompt))


def test_generating_begins_with_it(tmp_path):
    model = quantized(talking_checkpoint(), "q8")
    tokens = [model.start_id, *model.vocabulary.encode(TEXT)]
    plain = Library(model, tmp_path / "plain", prefill=8)
    baked = Library(model, tmp_path / "baked", prefill=8, extras=Extras(prompt=bake(model, tokens)))
    for more in (b" and the", None, b""):
        for temperature in (0.0, 0.9):
            plain.reset()
            baked.reset()
            assert plain.prefill(tokens) == 0
            how, same = (SamplerStruct(temperature=temperature, seed=7, ignore_end=1) for _ in range(2))
            assert plain.generate(more, 12, how) == baked.generate(more, 12, same)
            assert plain.tokens() == baked.tokens()
            assert baked.generate(b" again", 3, same) == plain.generate(b" again", 3, how)  # it is no beginning now
    baked.reset()
    status, _ = baked.generate(b"a fox by the old mill " * 20, 5)
    assert (status, baked.tokens()) == (-3, [])


@pytest.mark.parametrize("compiler", [["gcc"], None], ids=["gcc", "zig"])
@pytest.mark.parametrize("scheme", ["f32", "q8"])
def test_no_warning(scheme, compiler, tmp_path: Path):
    model = quantized(talking_checkpoint(), scheme)
    extras = Extras(prompt=bake(model, [model.start_id, *model.vocabulary.encode(TEXT)]))
    for trace in (False, True):
        generation = generate(model, load_target("generic"), extras=extras, trace=trace)
        write_files(generation, tmp_path)
        compile_objects(tmp_path, generation.sources, load_target("generic"), tmp_path, "-O2", compiler)


def test_a_trace_begins_behind_it():
    model = quantized(random_checkpoint(), "q8")
    extras = Extras(prompt=bake(model, TOKENS[:20]))
    assert first_divergence(model, load_target("generic"), 4, extras) is None


# ------------------------------------------------------------------------------------------------------- the commands


@pytest.fixture
def fox(tmp_path):
    save_checkpoint(talking_checkpoint(), tmp_path / "fox")
    (tmp_path / "prompt.txt").write_text(TEXT)
    return tmp_path / "fox"


def test_the_commands_take_it(llgen, fox, tmp_path):
    baked = ("--bake-prompt", tmp_path / "prompt.txt", "--scheme", "q8")
    options = ("--scheme", "q8", "-t", 1, "-s", 3, "-n", 60)
    whole = llgen("run", fox, "-f", tmp_path / "prompt.txt", *options)[1]
    code, out, _ = llgen("run", fox, *baked, *options)
    assert (code, TEXT + out) == (0, whole)
    code, out, _ = llgen("run", fox, " and", *baked, *options)
    assert (code, out[:4]) == (0, " and")
    code, out, _ = llgen("check", fox, *baked)
    assert code == 0
    assert "equal" in out
    code, _, err = llgen("build", fox, *baked, "-o", tmp_path / "out")
    assert code == 0
    assert "the baked prompt of" in err
    program = [tmp_path / "out" / "fox", "--selftest", "20"]
    printed = subprocess.run(program, capture_output=True, text=True, check=True).stdout
    assert llgen("check", fox, *baked, "--positions", 20, "--digest", printed.split()[-1])[0] == 0


def test_cached_builds_of_two_prompts_are_two():
    model, target = quantized(random_checkpoint(), "q8"), load_target("generic")
    prompts = [None, bake(model, TOKENS[:5]), bake(model, TOKENS[:6])]
    folders = {build_cached(model, target, extras=Extras(prompt=prompt)).directory for prompt in prompts}
    assert len(folders) == 3
