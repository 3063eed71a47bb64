"""Floats in whole numbers, for parts without a unit for them: the same bits as the machine's own floats.

The kernels that multiply whole numbers are tested where emulators are: tests/targets/test_int_products.py.
"""

from __future__ import annotations

import ctypes
import re
import subprocess
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from models import ODD, random_checkpoint

from llgen.codegen.contract import numerics
from llgen.codegen.quantise.quantize import quantized
from llgen.codegen.render.files import boxes_of, environment
from llgen.codegen.render.pipeline import generate
from llgen.codegen.words.flags import NUMERIC_FLAGS
from llgen.targets.instruction_sets import select
from llgen.targets.schema import load_target

Floats = npt.NDArray[np.float32]

HARNESS = """
#include <stddef.h>
#include <stdint.h>

#define APART __attribute__((noinline))
#define BLOCK_ROWS 4
#include "simd.h"

{bits}
{exp}

static inline float widened(uint16_t upper) {{ return float_of((uint32_t)upper << 16); }}

{scaled}

void run(int what, const float *a, const float *b, const int32_t *c, float *out, int32_t *whole, size_t count)
{{
    for (size_t i = 0; i < count; i++)
        switch (what) {{
        case 0: out[i] = exp_v(a[i]); break;
        case 1: out[i] = soft_add(a[i], b[i]); break;
        case 2: out[i] = soft_mul(a[i], b[i]); break;
        case 7: whole[i] = level_of(a[i], b[i]); break;
        case 5: out[i] = soft_div(a[i], b[i]); break;
        case 6: out[i] = scaled_row(c[i], a[i], (uint16_t)(bits_of(b[i]) >> 16)); break;
        case 3: out[i] = scaled(c[i], a[i], b[i]); break;
        case 4: whole[i] = nearest_product(a[i], b[i]); break;
        }}
}}
"""


class Soft:
    """The functions of a kernel set for parts without a unit for floats, compiled for the machine at hand."""

    def __init__(self, isa: str, folder: Path) -> None:
        target = load_target("generic").model_copy(update={"isa": (isa,)})
        generation = generate(quantized(random_checkpoint(ODD), "q8"), target, prefill=1)
        line = generation.kernels.line
        templates = {name: f"kernels/{name}.c.j2" for name in ("float_bits", "exp_f32", "nearest")}
        parts = {
            name: environment(line).get_template(template).render(generation.words.seen(boxes_of(template, line)))
            for name, template in templates.items()
        }
        (folder / "simd.h").write_bytes(generation.files["odd_simd.h"])
        bits, exp, scaled = parts["float_bits"], parts["exp_f32"], parts["nearest"]
        (folder / "soft.c").write_text(HARNESS.format(bits=bits, exp=exp, scaled=scaled))
        path = folder / "soft.so"
        subprocess.run(
            ["gcc", "-O2", "-shared", "-fPIC", *NUMERIC_FLAGS, "-o", str(path), "soft.c"], cwd=folder, check=True
        )
        self.run = ctypes.CDLL(str(path)).run

    def __call__(self, what: int, a: Floats, b: Floats | None = None, c: npt.NDArray[np.int32] | None = None):  # type: ignore[no-untyped-def]
        out, whole = np.empty(len(a), np.float32), np.empty(len(a), np.int32)
        arrays = [np.ascontiguousarray(v) if v is not None else out for v in (a, b, c)]
        self.run(what, *(v.ctypes.data_as(ctypes.c_void_p) for v in (*arrays, out, whole)), ctypes.c_size_t(len(a)))
        return whole if what in (4, 7) else out


@pytest.fixture(scope="module", params=["soft", "soft_rv32", "soft_narrow"])
def soft(request, tmp_path_factory):
    return Soft(request.param, tmp_path_factory.mktemp("soft"))


def assert_bits(expected: Floats, actual: Floats) -> None:
    """Equal to the bit, where the expected is a number."""
    numbers = ~np.isnan(expected)
    np.testing.assert_array_equal(actual[numbers].view(np.uint32), expected[numbers].view(np.uint32))


def floats(seed: int, count: int = 400_000) -> tuple[Floats, Floats]:
    """Pairs of every kind: any bits, like sizes, nearly opposite, few bits, and zeros among them."""
    generator = np.random.default_rng(seed)
    a, b = generator.integers(0, 1 << 32, (2, count), dtype=np.uint32)
    ordinary = generator.integers(100, 150, (2, count), dtype=np.uint32) << 23
    kind = generator.integers(0, 5, count)
    a = np.where(kind == 1, a & 0x807FFFFF | ordinary[0], a)
    b = np.where(kind == 1, b & 0x807FFFFF | ordinary[1], b)
    b = np.where(kind == 2, (a ^ 0x80000000) + generator.integers(0, 64, count, dtype=np.uint32) - 32, b)
    a = np.where(kind == 3, a & 0xFFFF0000, a)
    b = np.where(kind == 3, b & 0x807F0000 | a & 0x7F800000, b)
    b = np.where(kind == 4, b & 0x80000000, b)
    return a.astype(np.uint32).view(np.float32), b.astype(np.uint32).view(np.float32)


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")
def test_sums_and_products(soft):
    a, b = floats(1)
    assert_bits(a + b, soft(1, a, b))
    assert_bits(a * b, soft(2, a, b))


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value", "ignore:divide by zero")
def test_quotients(soft):
    for a, b in [floats(6), (np.ones(400_000, np.float32), floats(7)[0])]:
        assert_bits(a / b, soft(5, a, b))


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")
def test_scaled_sums(soft):
    a, b = (np.abs(v) for v in floats(2))
    generator = np.random.default_rng(3)
    sums = generator.integers(-(1 << 31), 1 << 31, len(a)) >> generator.integers(0, 31, len(a))
    sums[:3] = (1 << 31) - 1, 1 - (1 << 31), 1
    sums = np.where(sums == 0, 1, np.maximum(sums, 1 - (1 << 31))).astype(np.int32)
    assert_bits(sums.astype(np.float32) * (a * b), soft(3, a, b, sums))
    short = (b.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)
    assert_bits(sums.astype(np.float32) * (a * short), soft(6, a, short, sums))
    assert soft(3, np.ones(1, np.float32), np.ones(1, np.float32), np.zeros(1, np.int32)).view(np.uint32)[0] == 0


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")
def test_nearest_whole_numbers(soft):
    a, b = floats(4)
    halves = np.random.default_rng(5).integers(-(1 << 17), 1 << 17, len(a)).astype(np.float32) / 2
    for x, y in [(a, b), (halves, np.ones_like(halves))]:
        fits = (np.abs(x * y) < 1 << 21) & (np.abs(y) > 2.0**-120) & (np.abs(y) < 2.0**90)
        assert soft(4, x[fits], y[fits]).tolist() == np.rint(x[fits] * y[fits]).astype(int).tolist()
        fits &= np.abs(x * y) < 128
        assert soft(7, x[fits], y[fits]).tolist() == np.rint(x[fits] * y[fits]).astype(int).tolist()


@pytest.mark.parametrize("sign", [0, 0x80000000])
def test_exponentials(soft, sign):
    """Every 331st float up to 100 and beyond, those around the limits, and around the binades of the remainder."""
    bits = [np.arange(0, 0x42D00000, 331), np.arange(0x42800000 - 500, 0x42800000 + 500), [0x7F800000, 0x7FC00000, 1]]
    thirds = np.arange(1, 90) * np.log(2) / 2
    bits.append(
        (thirds.astype(np.float32).view(np.uint32).astype(np.int64)[:, np.newaxis] + np.arange(-200, 200)).reshape(-1)
    )
    x = (np.concatenate(bits).astype(np.uint32) | np.uint32(sign)).view(np.float32)
    assert_bits(numerics.exp(x), soft(0, x))


# Each of these found a mantissa that rounds up to 2^24 on the way.
@pytest.mark.parametrize("x", ["-0x1.002ab2p-8", "0x1.695f8ep-7", "-0x1.809122p-8", "0x1.7dc4d6p-6", "-0x1.02b1d6p-4"])
def test_exponentials_that_carry(soft, x):
    value = np.array([float.fromhex(x)], np.float32)
    assert_bits(numerics.exp(value), soft(0, value))


# ---------------------------------------------------------------------------------------------------------- layouts


@st.composite
def integers(draw, low, high):
    rows, columns = draw(st.integers(1, 12)), draw(st.integers(1, 70))
    values = st.integers(low, high)
    return np.array(draw(st.lists(values, min_size=rows * columns, max_size=rows * columns))).reshape(rows, columns)


@settings(max_examples=50)
@given(integers(-127, 127))
def test_paired_rows_of_8_bits_are_the_first_plus_256_times_the_second(values):
    words = select(["dsp"]).layout.eight_bits(values.astype(np.int8)).view("<i2")[..., 0]
    blocks, columns, pairs, _ = words.shape[0], words.shape[1], words.shape[2], words.shape[3]
    flat = words.transpose(0, 2, 1, 3).reshape(blocks * pairs, columns * 2).astype(int)
    first = (flat + 128) % 256 - 128
    both = np.stack([first, (flat - first) // 256], axis=1).reshape(-1, flat.shape[1])
    np.testing.assert_array_equal(both[: values.shape[0], : values.shape[1]], values)
    assert not both[values.shape[0] :].any()
    assert not both[:, values.shape[1] :].any()


@settings(max_examples=50)
@given(integers(-8, 7))
def test_four_rows_of_4_bits_share_16(values):
    words = select(["dsp"]).layout.four_bits(values.astype(np.int8)).view("<u2")[..., 0].astype(int)
    rows = [(words >> 4 * row & 15) - 8 for row in range(3)] + [((words >> 12) + 8 & 15) - 8]
    whole = np.stack(rows, axis=1).reshape(-1, words.shape[1])
    np.testing.assert_array_equal(whole[: values.shape[0], : values.shape[1]], values)


@pytest.mark.parametrize("isa", ["soft", "soft_rv32", "soft_narrow", "serial", "dsp"])
def test_the_plan_knows_what_is_packed(isa):
    """Bytes of weights, scales and multipliers."""
    target = load_target("generic").model_copy(update={"isa": (isa,)})
    for scheme in ("q8", "q4"):
        generation = generate(quantized(random_checkpoint(ODD), scheme), target)
        packed = sum(len(tensor.data) for tensor in generation.packed.tensors)
        assert sum(size for name, size in generation.memory.sections.items() if name != "tokenizer") == packed


def test_kernels_for_parts_without_a_float_unit_are_whole_numbers_only():
    """An operator on floats in a hot loop would call the compiler's function."""
    target = load_target("generic").model_copy(update={"isa": ("soft",)})
    generation = generate(quantized(random_checkpoint(ODD), "q8"), target, prefill=1)
    text = generation.files["odd_kernels.h"].decode()
    product = text[text.index("static void product(") : text.index("static void product_add(")]
    assert "scaled_rows(" in product
    assert not re.search(r"\(float\)", product)
