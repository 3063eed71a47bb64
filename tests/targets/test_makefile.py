"""The Makefile of a generated folder: it finds a compiler, or says in one line what to install."""

import os
import shutil
import subprocess
import sys

import pytest
from generated import write_files

from llgen.codegen.compile.toolchain import zig_environment
from llgen.codegen.quantise.quantize import quantized
from llgen.codegen.render.pipeline import generate
from llgen.targets.schema import load_target, target_names

FIRMWARE = [name for name in target_names() if load_target(name).firmware]


@pytest.fixture
def bare_path(tmp_path, tool):
    """A folder for PATH that holds make, a shell and rm, but no compiler."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("make", "sh", "rm"):
        (folder / name).symlink_to(tool(name, "make"))
    return folder


def make(folder, path, *words):
    environment = {key: value for key, value in os.environ.items() if key != "CC"}
    environment |= {key: value for key, value in zig_environment().items() if key.startswith("ZIG_")}
    return subprocess.run(
        [shutil.which("make", path=str(path)), *words],
        cwd=folder,
        env={**environment, "PATH": str(path)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("name", ["cortex_m4f", "x86_64"])
def test_the_makefile_finds_zig_that_came_with_pip(name, odd, bare_path, tmp_path):
    (bare_path / "python3").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (bare_path / "python3").chmod(0o755)
    generation = generate(quantized(odd, "q8"), load_target(name))
    write_files(generation, tmp_path / "out")
    done = make(tmp_path / "out", bare_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("python3 -m ziglang cc ")
    assert (tmp_path / "out" / generation.words.build.artifact).is_file()


@pytest.mark.parametrize("name", [*FIRMWARE, "x86_64", "aarch64"])
def test_the_makefile_says_what_to_install_where_there_is_no_compiler(name, odd, bare_path, tmp_path):
    target = load_target(name)
    generation = generate(odd, target)
    write_files(generation, tmp_path / "out")
    done = make(tmp_path / "out", bare_path)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "pip install ziglang" in done.stderr
    assert " ".join(target.compiler.gcc) in done.stderr
    assert make(tmp_path / "out", bare_path, "clean").returncode == 0


@pytest.mark.parametrize("name", [name for name in FIRMWARE if load_target(name).compiler.gcc])
def test_the_readme_gives_the_line_for_gcc(name, odd):
    target = load_target(name)
    readme = generate(odd, target).files["README.md"].decode()
    assert f'make CC="{" ".join(target.compiler.gcc)}"' in readme
