"""What a processor has decides what runs on it, and what `host` is; a mask stands for an older one."""

from __future__ import annotations

import platform

import pytest

from llgen.codegen.run import emulator
from llgen.targets import schema
from llgen.targets.schema import load_target, target_names

AVX512 = "avx2 avx512f avx512vl avx512bw avx512dq avx512_vnni"
PROCESSORS = {
    "": "x86_64",
    "avx2": "x86_64_v3",
    "avx2 avx_vnni": "x86_64_vnni",
    "avx512f avx512vl avx512bw avx512dq avx512_vnni": "x86_64",  # AVX2 masked away
    AVX512: "x86_64_avx512vnni",
    f"{AVX512} avx_vnni": "x86_64_avx512vnni",
}


@pytest.fixture
def server(monkeypatch):
    """A PC that has everything."""
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(schema, "_detected_flags", lambda: frozenset(f"{AVX512} avx_vnni fpu".split()))


@pytest.mark.parametrize(("mask", "host"), PROCESSORS.items())
def test_the_host_is_the_best_that_the_mask_leaves(mask, host, server, monkeypatch):
    monkeypatch.setenv("LLGEN_CPU_FLAGS", mask)
    assert load_target("host").name == host
    assert emulator.missing_emulator(load_target("host")) is None


def test_what_the_mask_takes_is_named_as_missing(server, monkeypatch):
    monkeypatch.setenv("LLGEN_CPU_FLAGS", "avx2 avx512vl")
    assert emulator.missing_emulator(load_target("x86_64_vnni")) == "this processor has no avx_vnni"
    words = emulator.missing_emulator(load_target("x86_64_avx512vnni"))
    assert words == "this processor has no avx512_vnni, avx512bw, avx512dq, avx512f"
    monkeypatch.setenv("LLGEN_CPU_FLAGS", "")
    assert emulator.missing_emulator(load_target("x86_64_v3")) == "this processor has no avx2"


def test_a_mask_adds_nothing(monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(schema, "_detected_flags", lambda: frozenset({"avx2"}))
    monkeypatch.setenv("LLGEN_CPU_FLAGS", AVX512)
    assert schema.cpu_flags() == {"avx2"}
    assert load_target("host").name == "x86_64_v3"


def test_a_machine_that_does_not_tell_what_it_has_is_given_the_least_and_may_try_more(monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(schema, "_detected_flags", lambda: None)
    assert load_target("host").name == "x86_64"
    assert emulator.missing_emulator(load_target("x86_64_v3")) is None


def test_targets_for_more_than_sse2_say_what_they_need():
    for name in target_names():
        target = load_target(name)
        if target.isa[0].startswith("avx"):
            assert "avx2" in target.runner.cpu_flags


def test_what_a_processor_lacks_is_skipped_in_ci_and_what_is_not_installed_fails(runnable, monkeypatch):
    monkeypatch.setenv("CI", "1")
    monkeypatch.setenv("LLGEN_CPU_FLAGS", "")
    monkeypatch.setattr(schema, "_detected_flags", lambda: frozenset({"fpu"}))
    with pytest.raises(pytest.skip.Exception, match="x86_64_v3: this processor has no avx2"):
        runnable("x86_64_v3")
    monkeypatch.setattr(emulator.shutil, "which", lambda name: None)
    with pytest.raises(pytest.fail.Exception, match="apt-get install qemu-user"):
        runnable("armv7")
