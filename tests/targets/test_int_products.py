"""The integer kernels of every instruction set against NumPy: many shapes, many vectors, the ends of every range."""

from __future__ import annotations

import struct
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from generated import write_files
from models import ODD, of_many_forms, random_checkpoint

from llgen.codegen.compile.toolchain import compile_objects, link, zig_cc, zig_environment
from llgen.codegen.contract.matrix import GROUP, LEVELS, MAX_MULTIPLIER, IntMatrix
from llgen.codegen.contract.numerics import quantize_vector
from llgen.codegen.pack.weights import packed_weights
from llgen.codegen.plan.blocking import has_threads
from llgen.codegen.plan.sizes import round_up
from llgen.codegen.render.pipeline import generate
from llgen.codegen.run.runner import command
from llgen.targets.instruction_sets import InstructionSet
from llgen.targets.schema import Target, load_target, target_names

HOSTED = [name for name in target_names() if load_target(name).runner and load_target(name).stdio == "hosted"]
# Kernels made for bare machines, in plain C: the machine at hand runs them as well.
ELSEWHERE = ["soft", "soft_rv32", "serial"]
BLOCK = 15  # positions: each width of tile has a turn
WIDEST = 1100  # columns: more than are summed up before rows that share a word are taken apart
SHORT = 256  # columns: as many as three sums hold of the four rows of a word

# Reads products as [bits, blocks, columns, bytes of weights] and arrays, and writes the results.
READER = """
#include <stdio.h>
#include <string.h>
#include "odd_forward.c"
#include "odd_names.h"

static struct odd state;
static _Alignas(64) int8_t weights[1 << 18];
static uint16_t scales[1 << 10];
static int8_t multipliers[1 << 14];
static float x[%(widest)d], out[1 << 10], block[%(prefill)d << 10];

static int take(void *to, size_t size) { return fread(to, 1, size, stdin) == size; }

int main(void)
{
    int32_t head[4];
    while (take(head, sizeof head)) {
        size_t blocks = (size_t)head[1], columns = (size_t)head[2], rows = blocks * BLOCK_ROWS;
        if (!take(weights, (size_t)head[3]) || !take(scales, rows * 2) || !take(x, columns * 4))
            return 1;
        if (head[0] < 8 && !take(multipliers, rows * ((columns + 31) / 32)))
            return 1;
        matrix w = { weights, scales, head[0] < 8 ? multipliers : NULL, (uint32_t)head[0] };
%(product)s        fwrite(out, 4, rows, stdout);
    }
    return 0;
}
"""


ONE_POSITION = """
        product(out, w, blocks, columns, operand_of(&state, x, columns));
        product_add(out, w, blocks, columns, operand_of(&state, x, columns));
"""

# All positions of a block have the same x, and so the same results.
A_BLOCK = """
        vectors in = { x, 0 }, to = { block, sizeof out / sizeof *out };
        product(%(state)sto, w, blocks, columns, operand_of(&state, in, columns, PREFILL), PREFILL);
        product_add(%(state)sto, w, blocks, columns, operand_of(&state, in, columns, PREFILL), PREFILL);
        for (size_t t = 0; t < PREFILL; t++)
            if (t > 0 && memcmp(block + t * to.stride, block, rows * sizeof *block) != 0)
                return 2;
        memcpy(out, block, sizeof out);
"""


def compiled(target: Target, folder: Path, prefill: int, widest: int) -> tuple[InstructionSet, list[str]]:
    """The harness around a model of all forms; returns the kernels and the command that starts it."""
    config = replace(ODD, hidden_dim=widest)
    generation = generate(of_many_forms(random_checkpoint(config)), target, prefill=prefill)
    write_files(generation, folder)
    state = "&state, " if has_threads(target, prefill) else ""
    product = ONE_POSITION if prefill == 1 else A_BLOCK % {"state": state}
    (folder / "harness.c").write_text(
        READER % {"widest": widest, "prefill": prefill, "product": product}
    )
    sources = [source for source in generation.model_sources if source != "odd_forward.c"]
    compiler = [*zig_cc(target), "-fno-sanitize=undefined", "-w"]
    objects = compile_objects(folder, ["harness.c", *sources], target, folder, "-O2", compiler)
    return generation.kernels, command(link(objects, target, folder / f"harness{target.suffix}"), [])


def vectors(generator: np.random.Generator, columns: int) -> list[np.ndarray]:
    """[columns] each: ordinary numbers, one of them, none, ties, the least that is not taken for zero, large ones."""
    ordinary = generator.standard_normal(columns)
    one = np.zeros(columns)
    one[generator.integers(columns)] = -3.0
    ties = (generator.integers(-127, 127, columns) + 0.5) / 128
    ties[0] = 127 / 128
    alike = np.full(columns, -0.75)
    return [
        v.astype(np.float32) for v in (ordinary, one, np.zeros(columns), ties, alike, ordinary * 1e-17, ordinary * 1e9)
    ]


def matrices(generator: np.random.Generator, rows: int, columns: int) -> list[IntMatrix]:
    """Random ones of all forms, and those whose sums are the largest."""
    scales = (generator.uniform(0.5, 2.0, rows) / 1024).astype(np.float32).view(np.uint32)
    scales = (scales & np.uint32(0xFFFF0000)).view(np.float32)
    groups = (rows, -(-columns // GROUP))
    found = []
    for bits in LEVELS:
        low, high = LEVELS[bits]
        some = generator.integers(-MAX_MULTIPLIER, MAX_MULTIPLIER, groups, endpoint=True).astype(np.int8)
        most = np.full(groups, MAX_MULTIPLIER, np.int8)
        for integers, multipliers in [
            (generator.integers(low, high, (rows, columns), endpoint=True), some),
            (np.where(generator.random((rows, columns)) < 0.5, low, high), most),
            (np.full((rows, columns), low), most),
            (np.full((rows, columns), low), -most),
            (np.full((rows, columns), high), most),
        ]:
            found.append(IntMatrix(bits, integers.astype(np.int8), scales, multipliers if bits < 8 else None))
    return found


def packed(matrix: IntMatrix, x: np.ndarray, kernels: InstructionSet) -> bytes:
    """A product as the harness reads it."""
    rows, columns = matrix.shape
    block = kernels.block_rows(True)
    padding = round_up(rows, block) - rows
    weights = packed_weights(matrix.integers, matrix.bits, kernels)
    scales = np.pad((matrix.scales.view(np.uint32) >> 16).astype(np.uint16), (0, padding)).tobytes()
    multipliers = b""
    if matrix.multipliers is not None:
        own = np.pad(matrix.multipliers, ((0, padding), (0, 0)))
        multipliers = own.reshape(-1, block, own.shape[1]).transpose(0, 2, 1).tobytes()
    head = struct.pack("<4i", matrix.bits, (rows + padding) // block, columns, len(weights))
    return head + weights + scales + x.astype("<f4").tobytes() + multipliers


SHAPES = [(1, 1), (3, 6), (5, 31), (4, 64), (33, 36), (7, 172), (70, 97), (9, 256), (4, 257), (9, 513), (2, WIDEST)]


def check(target: Target, folder: Path, prefill: int, widest: int = WIDEST) -> None:
    kernels, words = compiled(target, folder, prefill, widest)
    generator = np.random.default_rng(7)
    asked, expected = [], []
    for rows, columns in [shape for shape in SHAPES if shape[1] <= widest]:
        for matrix in matrices(generator, rows, columns):
            for x in vectors(generator, columns):
                asked.append(packed(matrix, x, kernels))
                once = matrix.product(quantize_vector(x))
                expected.append((round_up(rows, kernels.block_rows(True)), once + once))
    done = subprocess.run(words, input=b"".join(asked), capture_output=True, check=True, env=zig_environment())
    got = np.frombuffer(done.stdout, "<f4")
    assert len(got) == sum(rows for rows, _ in expected)
    for rows, result in expected:
        np.testing.assert_array_equal(got[: len(result)].view(np.uint32), result.view(np.uint32))
        got = got[rows:]


@pytest.mark.parametrize("prefill", [1, BLOCK])
@pytest.mark.parametrize("name", HOSTED)
def test_products_equal_numpys(name, prefill, runnable, tmp_path):
    check(runnable(name), tmp_path, prefill)


@pytest.mark.parametrize("prefill", [1, BLOCK])
@pytest.mark.parametrize("isa", ELSEWHERE)
def test_kernels_of_bare_machines_equal_numpy_on_this_one(isa, prefill, tmp_path):
    check(load_target("generic").model_copy(update={"isa": (isa,)}), tmp_path, prefill)


@pytest.mark.parametrize("isa", ["soft", "soft_rv32"])
def test_words_of_four_short_rows_equal_numpy(isa, tmp_path):
    check(load_target("generic").model_copy(update={"isa": (isa,)}), tmp_path, 1, SHORT)


@pytest.mark.parametrize(("prefill", "widest"), [(1, WIDEST), (BLOCK, WIDEST), (1, SHORT)])
def test_the_kernels_of_cortex_m0plus_equal_numpy_on_an_arm(prefill, widest, runnable, tmp_path):
    """Its assembly is that of any ARM."""
    check(runnable("armv7").model_copy(update={"isa": ("soft_narrow",)}), tmp_path, prefill, widest)


@pytest.mark.parametrize("prefill", [1, BLOCK])
def test_the_kernels_of_cortex_m4_without_floats_equal_numpy_on_an_arm(prefill, runnable, tmp_path):
    check(runnable("armv6").model_copy(update={"isa": ("soft_dsp",)}), tmp_path, prefill)
