"""A program that a signal ends is told in words: which signal, which processor the emulator was, what to do."""

from __future__ import annotations

import shutil
import sys

import pytest

from llgen.codegen.build.folder import build
from llgen.codegen.compile.toolchain import Artifact
from llgen.codegen.quantise.quantize import quantized
from llgen.codegen.run.death import death
from llgen.codegen.run.runner import run_selftest
from llgen.errors import LlgenError
from llgen.targets.schema import Runner, load_target


def on(target, *argv):
    """The target, run by other words."""
    return load_target(target).model_copy(update={"runner": Runner(argv=(*argv, "{artifact}"), package="qemu-user")})


def test_an_instruction_that_an_emulators_processor_lacks_is_told(odd, tool, tmp_path):
    """NEON on an ARM11, which QEMU was asked to be."""
    tool("qemu-arm", "qemu-user")
    target = on("armv7", "qemu-arm", "-cpu", "arm1176")
    artifact = Artifact(build(quantized(odd, "q8"), load_target("armv7"), tmp_path / "c").artifact.path, target)
    with pytest.raises(LlgenError) as caught:
        run_selftest(artifact, 3)
    assert "was ended by SIGILL, an instruction that the processor does not have, in qemu-arm with -cpu arm1176" in (
        caught.value.message
    )
    assert caught.value.hint == (
        "another -cpu in runner.argv, one that has what compiler.cpu 'generic+v7a+neon' has; "
        "`qemu-arm -cpu help` lists them"
    )
    assert "\n" not in caught.value.message


def test_so_is_one_that_its_default_processor_lacks():
    words, hint = death(-4, on("x86_64_v3", "qemu-x86_64"))
    assert words.endswith("in qemu-x86_64 with its default processor, for runner.argv has no -cpu")
    assert hint.startswith('"-cpu", "max" in runner.argv, one that has what compiler.cpu')
    assert death(128 + 4, on("x86_64_v3", "qemu-x86_64")) == (words, hint)


def test_a_program_of_this_machine_gets_the_target_that_is_made_for_it():
    words, hint = death(-4, load_target("x86_64_v3"))
    assert words == "was ended by SIGILL, an instruction that the processor does not have, on this machine"
    assert hint == "--target host is made for this processor"


@pytest.mark.parametrize("code", [1, 2, 77, 128, -400, 300])
def test_other_codes_are_no_signals(code):
    assert death(code, load_target("x86_64")) is None


@pytest.mark.skipif(sys.platform == "win32" or not shutil.which("sh"), reason="no shell that ends itself")
def test_a_signal_is_told_whoever_sends_it(tmp_path):
    program = tmp_path / "x"
    program.write_text("#!/bin/sh\necho half a word >&2\nkill -KILL $$\n")
    program.chmod(0o755)
    with pytest.raises(LlgenError) as caught:
        run_selftest(Artifact(program, load_target("x86_64")), 3)
    assert caught.value.message == (
        "'x' was ended by SIGKILL, the system, mostly for want of memory, on this machine; it said: half a word"
    )
