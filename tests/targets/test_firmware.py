"""Images for bare machines: what they link, how deep their stack goes, and that too large a model is refused."""

import re
import subprocess

import pytest
from elftools.elf.elffile import ELFFile
from generated import write_files

from llgen.codegen.build.folder import build, build_cached
from llgen.codegen.compile.measure import measure
from llgen.codegen.compile.toolchain import compile_objects, link
from llgen.codegen.formats.hf.directory import load_checkpoint
from llgen.codegen.quantise.quantize import quantized
from llgen.codegen.render.pipeline import generate
from llgen.codegen.run.runner import command
from llgen.errors import ExitCode, LlgenError
from llgen.targets.schema import load_target, target_names

FIRMWARE = [name for name in target_names() if load_target(name).firmware]
WITH_FPU = [name for name in FIRMWARE if load_target(name).firmware.fpu]

# An interrupt may strike at the deepest point: its frame with floating-point registers, and its function.
INTERRUPT_BYTES = 128


def quiet(what):
    pass


def symbols(path):
    with path.open("rb") as stream:
        return {symbol.name for symbol in ELFFile(stream).get_section_by_name(".symtab").iter_symbols()}


@pytest.mark.parametrize("name", FIRMWARE)
def test_no_library_but_the_compilers_own(name, odd):
    built = build_cached(quantized(odd), load_target(name))
    names = symbols(built.artifact.path)
    forbidden = re.compile(r"^(__ubsan.*|malloc|free|printf|_sbrk|_exit|__libc.*)$")
    assert not [found for found in names if forbidden.match(found)]
    soft_float = [found for found in names if re.match(r"^__aeabi_f(add|sub|mul|div|cmp.*|rsub)$", found)]
    assert bool(soft_float) == (name in ("cortex_m0plus", "cortex_m3")), soft_float


@pytest.mark.parametrize("name", WITH_FPU)
def test_the_stack_goes_no_deeper_than_computed(name, odd, runnable, tmp_path):
    target = runnable(name)
    generation = generate(odd, target)
    write_files(generation, tmp_path)
    objects = compile_objects(tmp_path, generation.sources, target, tmp_path)
    artifact = link(objects, target, tmp_path / generation.words.build.artifact)
    done = subprocess.run(command(artifact, ["--selftest", "20"]), capture_output=True, text=True, check=True)
    painted = int(re.search(r"^stack (\d+)$", done.stderr, re.MULTILINE)[1])
    computed = measure(objects).stack
    assert 0 < painted <= computed + INTERRUPT_BYTES
    assert computed < target.firmware.stack_bytes


def test_vectors_come_first_and_the_weights_lie_where_the_target_says(odd):
    target = load_target("cortex_m55")
    built = build_cached(quantized(odd), target)
    with built.artifact.path.open("rb") as stream:
        places = {section.name: section["sh_addr"] for section in ELFFile(stream).iter_sections()}
    assert places[".vectors"] == target.firmware.region("code").origin
    assert places[".weights"] == target.firmware.region("weights").origin
    assert places[".stack"] == target.firmware.region("data").origin


def small_target(tmp_path, *, flash="0x400000", ram="0x400000"):
    text = f"""
description = "a small board"
isa = ["scalar"]
stdio = "semihosting"
suffix = ".elf"

[compiler]
triple = "thumb-freestanding-eabihf"
cpu = "cortex_m4+vfp4d16sp"

[runner]
argv = ["qemu-system-arm", "-machine", "mps2-an386", "-kernel", "{{artifact}}"]
package = "qemu-system-arm"
counter = "icount"

[firmware]
core = "cortex_m"
fpu = true
clock_hz = 25_000_000

[[firmware.memory]]
name = "FLASH"
origin = 0x00000000
length = {flash}
holds = ["code", "weights"]

[[firmware.memory]]
name = "RAM"
origin = 0x20000000
length = {ram}
holds = ["data", "state"]
"""
    path = tmp_path / "small.toml"
    path.write_text(text)
    return path


def test_a_state_too_large_is_refused_with_the_context_that_fits(llgen, fox, tmp_path):
    path = small_target(tmp_path, ram="0x4000")
    with pytest.raises(LlgenError, match=r"needs [\d,]+ bytes of RAM .* at context 75; 'small' has 16,384") as caught:
        build(load_checkpoint(fox), load_target(str(path)), tmp_path / "out")
    assert caught.value.exit_code == ExitCode.DOES_NOT_FIT
    context = int(re.fullmatch(r"--context (\d+)", caught.value.hint)[1])
    code, _, err = llgen("build", fox, "--target", path, "--context", context + 1, "-o", tmp_path / "out")
    assert code == 3
    assert f"--context {context}" in err
    code, _, err = llgen("build", fox, "--target", path, "--context", context, "-o", tmp_path / "out")
    assert code == 0, err


def test_weights_too_large_are_refused(odd, tmp_path):
    path = small_target(tmp_path, flash="0x10000")
    with pytest.raises(LlgenError, match="bytes of FLASH for code and weights; 'small' has 65,536") as caught:
        build(odd, load_target(str(path)), tmp_path / "out")
    assert caught.value.exit_code == ExitCode.DOES_NOT_FIT


def test_a_target_is_a_file_and_nothing_else(llgen, fox, tmp_path, runnable):
    path = small_target(tmp_path)
    runnable(str(path))
    code, out, err = llgen("check", fox, "--target", path, "--positions", 20, "--no-torch")
    assert code == 0, err
    assert re.search(r"small +[0-9a-f]{8} .* equal", out)


@pytest.mark.parametrize("name", ["cortex_m4f", "wasm32_web", "wasm32_wasi", "aarch64"])
def test_the_same_story_as_on_the_host(name, llgen, fox, runnable):
    runnable(name)
    texts = []
    for target in ("host", name):
        code, out, err = llgen(
            "run", fox, "the “fox” ran, à la", "--target", target, "-s", 5, "-t", "0.35", "-n", 60, "--ignore-eos"
        )
        assert code == 0, err
        texts.append(out)
    assert texts[0] == texts[1]
    assert texts[0].startswith("the “fox” ran, à la")


def test_commas_reach_a_semihosted_program(llgen, fox, runnable):
    runnable("cortex_m4f")
    code, out, err = llgen("run", fox, "--tokens", "1,9,30", "--target", "cortex_m4f", "-n", 8, "--json")
    assert code == 0, err
    assert '"prompt_tokens": [1, 9, 30]' in out
