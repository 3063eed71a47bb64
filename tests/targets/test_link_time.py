"""Firmware that is optimised when it is linked: the compiler makes calls of memset and memcpy after it has dropped what
nobody called."""

import subprocess

import pytest
from generated import write_files

from llgen.codegen.build.folder import expected_trace
from llgen.codegen.compile.toolchain import Artifact, zig_cc, zig_environment
from llgen.codegen.quantise.quantize import quantized
from llgen.codegen.render.pipeline import generate
from llgen.codegen.run.runner import run_selftest
from llgen.targets.schema import load_target, target_names

FIRMWARE = [name for name in target_names() if load_target(name).firmware]
GCC = [name for name in FIRMWARE if load_target(name).compiler.gcc]


def build_by_make(folder, target, compiler, *, flags, libraries=()):
    words = [f"CC={' '.join(compiler)}", f"CFLAGS={flags}", f"LDLIBS={' '.join(libraries)}"]
    done = subprocess.run(
        ["make", *words], cwd=folder, env=zig_environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", GCC)
def test_gcc_links_firmware_that_is_optimised_as_a_whole(name, odd, runnable, tool, tmp_path):
    target = runnable(name)
    tool("make", "make")
    tool(target.compiler.gcc[0], "gcc-arm-none-eabi")
    generation = generate(quantized(odd, "q8"), target)
    write_files(generation, tmp_path)
    libraries = target.compiler.gcc_libraries
    build_by_make(tmp_path, target, target.compiler.gcc, flags="-O2 -flto", libraries=libraries)
    artifact = Artifact(tmp_path / generation.words.build.artifact, target)
    assert run_selftest(artifact, 20) == expected_trace(generation.model, 20)


@pytest.mark.parametrize("level", ["-O2", "-Os"])
@pytest.mark.parametrize("name", ["cortex_m4f", "cortex_m55", "riscv32_imac"])
def test_zig_links_firmware_that_is_optimised_as_a_whole(name, level, odd, runnable, tool, tmp_path):
    target = runnable(name)
    tool("make", "make")
    generation = generate(quantized(odd, "q8"), target)
    write_files(generation, tmp_path)
    build_by_make(tmp_path, target, [*zig_cc(target), "-fno-sanitize=undefined"], flags=f"{level} -flto")
    artifact = Artifact(tmp_path / generation.words.build.artifact, target)
    assert run_selftest(artifact, 20) == expected_trace(generation.model, 20)
