"""Threads: the same bits for any number of them, in whatever order they work."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from generated import Library, write_files
from models import ODD, random_checkpoint
from processors import require_processor

from llgen.codegen.compile.toolchain import compile_objects, link
from llgen.codegen.plan.blocking import has_threads
from llgen.codegen.plan.tuning import Values
from llgen.codegen.quantise.quantize import quantized
from llgen.codegen.reference.forward import selftest
from llgen.codegen.render.pipeline import generate
from llgen.targets.schema import load_target, target_names

TASK = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_size_t)
RUN = ctypes.CFUNCTYPE(None, TASK, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p)
NUMBERS = [("f32", "f32"), ("q8", "f32"), ("q4", "q8")]
TOKENS = [(37 * i + 5) % ODD.vocab_size for i in range(60)]


DIVIDES_ALL = Values(least_parallel=0)
"""Small models' products are divided, too."""


@pytest.mark.parametrize(("scheme", "kv"), NUMBERS)
@pytest.mark.parametrize("target", ["generic", "x86_64_v3"])
def test_parts_may_be_worked_on_in_any_order(target, scheme, kv, tmp_path):
    library = Library(random_checkpoint(), tmp_path, target, scheme=scheme, kv=kv, prefill=16, tuning=DIVIDES_ALL)
    assert library.prefill(TOKENS) == 0
    expected = library.logits()
    seen = []

    def backwards(task: Callable[[int, int], None], job: int, parts: int, user: int) -> None:
        seen.append((parts, user))
        for part in reversed(range(parts)):
            task(job, part)

    run = RUN(backwards)
    for threads in (2, 3, 7, 1000):
        library.reset()
        assert library.function("set_parallel")(library.state, ctypes.c_uint32(threads), run, ctypes.c_void_p(99)) == 0
        assert library.prefill(TOKENS[:33]) == 0
        for token in TOKENS[33:]:
            assert library.eval(token) == 0
        np.testing.assert_array_equal(library.logits().view(np.uint32), expected.view(np.uint32))
        assert max(parts for parts, _ in seen) <= threads
        assert {user for _, user in seen} == {99}
        library.reset()  # forgets the callback, whose `user` may be gone
        seen.clear()
        library.prefill(TOKENS)
        assert not seen


def test_misuse_of_set_parallel_is_answered(tmp_path):
    library = Library(random_checkpoint(), tmp_path, "x86_64", tuning=DIVIDES_ALL)
    set_parallel = library.function("set_parallel")
    run = RUN(lambda task, job, parts, user: pytest.fail("called"))
    assert set_parallel(None, ctypes.c_uint32(2), run, None) == -1
    assert set_parallel(library.state, ctypes.c_uint32(0), run, None) == -1
    fresh = ctypes.create_string_buffer(library.generation.memory.ram_bytes)
    assert set_parallel(fresh, ctypes.c_uint32(2), run, None) == -5
    assert set_parallel(library.state, ctypes.c_uint32(2), RUN(0), None) == 0  # a null callback: alone
    assert set_parallel(library.state, ctypes.c_uint32(1), run, None) == 0
    assert library.prefill(TOKENS) == 0


def test_small_products_are_not_divided(tmp_path):
    library = Library(random_checkpoint(), tmp_path, "x86_64")
    calls = []
    run = RUN(lambda task, job, parts, user: calls.append(parts))
    assert library.function("set_parallel")(library.state, ctypes.c_uint32(4), run, None) == 0
    assert library.eval(1) == 0
    assert calls == []


@pytest.mark.parametrize(("scheme", "kv"), NUMBERS)
def test_any_number_of_threads_gives_the_digest(scheme, kv, tmp_path: Path):
    model, target = quantized(random_checkpoint(), scheme, kv), load_target("x86_64_v3")
    require_processor(target)
    generation = generate(model, target, tuning=DIVIDES_ALL)
    write_files(generation, tmp_path)
    objects = compile_objects(tmp_path, generation.sources, target, tmp_path)
    program = link(objects, target, tmp_path / generation.words.build.artifact).path
    expected = f"digest {selftest(model, 40).digest_hex}"
    for threads in (1, 2, 3, 8):
        words = [program, "--selftest", "40", "--threads", str(threads)]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        assert expected in done.stdout
    refused = subprocess.run([program, "--threads", "0"], capture_output=True, text=True, check=False)
    assert (refused.returncode, refused.stdout) == (2, "")


def test_only_programs_of_an_operating_system_have_threads():
    names = {name for name in target_names() if has_threads(load_target(name), 64)}
    assert {"generic", "x86_64_v3", "aarch64", "armv7", "macos_aarch64"} <= names
    assert not names & {"cortex_m4f", "riscv32_imac", "wasm32_wasi", "wasm32_web", "windows_x86_64"}
    assert not has_threads(load_target("x86_64_v3"), 1)
    for prefill, there in ((1, False), (8, True)):
        generation = generate(random_checkpoint(), load_target("x86_64"), prefill=prefill)
        assert ("odd_threads.c" in generation.files) == there
        assert (b"set_parallel" in generation.files["odd.h"]) == there
