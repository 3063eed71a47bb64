"""Prefill in blocks on machines other than this: the bits of stepping there, and the reference's tokens."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from generated import write_files
from models import random_checkpoint

from llgen.codegen.build.folder import build
from llgen.codegen.compile.toolchain import compile_objects, link, zig_cc, zig_environment
from llgen.codegen.quantise.quantize import QuantModel, quantized
from llgen.codegen.reference.forward import selftest
from llgen.codegen.render.pipeline import generate
from llgen.codegen.run.runner import command, run_story

NUMBERS = [("f32", "f32"), ("q8", "f32"), ("q4", "q8")]

# Says how many bytes of logits differ between stepping and prompts in pieces of every size.
HARNESS = """
#include "odd.h"
#include <stdio.h>
#include <string.h>

static struct odd state;
static float expected[ODD_CONTEXT][ODD_VOCAB];
static int32_t tokens[ODD_CONTEXT];

int main(void)
{
    odd_reset(&state);
    for (int i = 0; i < ODD_CONTEXT; i++) {
        tokens[i] = (37 * i + 5) % ODD_VOCAB;
        odd_eval(&state, tokens[i]);
        memcpy(expected[i], odd_logits(&state), sizeof expected[i]);
    }
    int wrong = 0;
    for (int size = 1; size < ODD_CONTEXT; size += 1 + size / 8) {
        odd_reset(&state);
        for (int at = 0; at < ODD_CONTEXT; at += size) {
            int count = ODD_CONTEXT - at < size ? ODD_CONTEXT - at : size;
            odd_prefill(&state, tokens + at, (size_t)count);
            wrong += memcmp(odd_logits(&state), expected[at + count - 1], sizeof *expected) != 0;
        }
    }
    printf("%d\\n", wrong);
    return 0;
}
"""


@pytest.mark.parametrize(("scheme", "kv"), NUMBERS)
@pytest.mark.parametrize("name", ["aarch64", "aarch64_dotprod", "armv7", "armv6", "riscv64", "wasm32_wasi"])
def test_blocks_give_the_bits_of_stepping(name, scheme, kv, runnable, tmp_path):
    target = runnable(name)
    generation = generate(quantized(random_checkpoint(), scheme, kv), target, prefill=20)
    write_files(generation, tmp_path)
    (tmp_path / "harness.c").write_text(HARNESS)
    sources = ["harness.c", *generation.model_sources]
    compiler = [*zig_cc(target), "-fno-sanitize=undefined", "-w"]
    objects = compile_objects(tmp_path, sources, target, tmp_path, "-O2", compiler)
    words = command(link(objects, target, tmp_path / f"harness{target.suffix}"), [])
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=zig_environment())
    assert done.stdout.split() == ["0"]


def greedy(model: QuantModel, positions: int) -> tuple[int, ...]:
    return selftest(model, positions).tokens


@pytest.mark.parametrize(("scheme", "kv"), NUMBERS)
@pytest.mark.parametrize("name", ["cortex_m4f", "cortex_m0plus", "cortex_m55", "riscv32_imac"])
def test_a_microcontroller_takes_blocks_when_asked_to(name, scheme, kv, runnable, tmp_path: Path):
    target = runnable(name)
    model = quantized(random_checkpoint(), scheme, kv)
    built = build(model, target, tmp_path / "out", prefill=7)
    assert built.facts["prefill"] == 7
    expected = greedy(model, 24)
    prompt = ",".join(map(str, expected[:17]))
    story = run_story(built.artifact, ["--tokens", prompt, "-n", "24", "--ignore-eos"], None, stream=False)
    assert (*story.prompt_tokens, *story.tokens) == expected
