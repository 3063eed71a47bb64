"""RISC-V's vectors: their length is the processor's choice, and nothing depends on it."""

import re
import subprocess

import pytest
from generated import write_files
from models import of_many_forms, random_checkpoint

from llgen.codegen.build.folder import build_cached, expected_trace
from llgen.codegen.compile.toolchain import compile_objects, link
from llgen.codegen.quantise.quantize import quantized
from llgen.codegen.render.pipeline import generate
from llgen.codegen.run.counting import instructions_per_token
from llgen.codegen.run.runner import command, run_selftest


def with_vectors_of(target, bits):
    """The target, run by an emulated processor whose vectors have so many bits."""
    argv = tuple(re.sub(r"vlen=\d+", f"vlen={bits}", word) for word in target.runner.argv)
    assert any(f"vlen={bits}" in word for word in argv)
    return target.model_copy(update={"runner": target.runner.model_copy(update={"argv": argv})})


@pytest.mark.parametrize("bits", [256, 1024])
@pytest.mark.parametrize("scheme", ["f32", "q8", "q4"])
def test_longer_vectors_have_the_same_bits(scheme, bits, odd, runnable):
    model = quantized(odd, scheme)
    target = with_vectors_of(runnable("riscv64_v"), bits)
    assert run_selftest(build_cached(model, target).artifact, 64) == expected_trace(model, 64)


@pytest.mark.parametrize("scheme", ["f32", "q8", "q4"])
def test_vectors_take_at_most_half_of_the_instructions(scheme, odd, runnable):
    counts = {
        name: instructions_per_token(build_cached(quantized(odd, scheme), runnable(name)).artifact, 16)
        for name in ("riscv64", "riscv64_v")
    }
    assert 2 * counts["riscv64_v"] <= counts["riscv64"], counts


DEPTH = """
#include "odd.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SIZE = 1 << 18 };
static _Alignas(4096) unsigned char stack[SIZE];
static struct odd state;

static void *nothing(void *given) { return given; }

static void *evaluate(void *given)
{
    int32_t tokens[] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 };
    if (odd_reset(&state) != 0)
        abort();
    if (odd_prefill(&state, tokens, 9) != 0 || odd_eval(&state, tokens[9]) != 0)
        abort();
    return given;
}

static size_t depth(void *(*work)(void *))
{
    pthread_attr_t attributes;
    pthread_t thread;
    size_t free = 0;
    memset(stack, 0xA5, SIZE);
    if (pthread_attr_init(&attributes) || pthread_attr_setstack(&attributes, stack, SIZE)
        || pthread_create(&thread, &attributes, work, NULL) || pthread_join(thread, NULL))
        abort();
    while (free < SIZE && stack[free] == 0xA5)
        free++;
    return SIZE - free;
}

int main(void)
{
    size_t without = depth(nothing);
    printf("%zu\\n", depth(evaluate) - without);
    return 0;
}
"""


@pytest.mark.parametrize("scheme", ["f32", "q8", "mixed"])
def test_the_promised_stack_holds_with_vectors_of_512_bits(scheme, odd, runnable, tmp_path):
    """What is put aside of a vector has the length of the processor's vectors, so no compiler tells it."""
    target = with_vectors_of(runnable("riscv64_v"), 512)
    model = of_many_forms(random_checkpoint()) if scheme == "mixed" else quantized(odd, scheme)
    generation = generate(model, target)
    write_files(generation, tmp_path)
    (tmp_path / "depth.c").write_text(DEPTH)
    sources = [*generation.model_sources, "depth.c"]
    program = link(compile_objects(tmp_path, sources, target, tmp_path), target, tmp_path / "depth")
    done = subprocess.run(command(program, []), capture_output=True, text=True, check=True)
    assert 500 < int(done.stdout) <= generation.stack_bytes
