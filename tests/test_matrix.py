"""Integer matrices: what rounding may lose, what sums may reach, and that packing keeps every weight."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from llgen.codegen.contract.matrix import (
    GROUP,
    LEVELS,
    IntMatrix,
    group_scales,
    round_in_groups,
    round_to_8,
    row_form,
    short_scale,
    to_bits,
)
from llgen.codegen.contract.numerics import Quantized, quantize_vector
from llgen.targets.instruction_sets import select

FLOATS = st.floats(-8.0, 8.0, width=32)
SHAPES = st.tuples(st.integers(1, 9), st.integers(1, 70))
MATRICES = SHAPES.flatmap(lambda shape: arrays(np.float32, shape, elements=FLOATS))


def steps_of(matrix):
    if matrix.multipliers is None:
        return np.repeat(matrix.scales[:, np.newaxis], matrix.shape[1], axis=1)
    groups = np.repeat(matrix.multipliers.astype(np.float64), GROUP, axis=1)[:, : matrix.shape[1]]
    return groups * matrix.scales[:, np.newaxis]


@given(MATRICES)
def test_eight_bits_are_half_a_step_away(values):
    matrix = round_to_8(values)
    assert np.abs(matrix.integers.astype(int)).max() <= 127
    assert (np.abs(matrix.dequantized() - values) <= 0.5001 * steps_of(matrix)).all()


@given(MATRICES, st.sampled_from([4, 5, 6]))
def test_few_bits_clip_but_little(values, bits):
    matrix = round_in_groups(values, bits)
    low, high = LEVELS[bits]
    assert matrix.integers.min() >= low and matrix.integers.max() <= high
    steps = np.abs(steps_of(matrix))
    inside = np.abs(values) <= high * steps
    assert (np.abs(matrix.dequantized() - values)[inside] <= 0.5001 * steps[inside]).all()
    largest = np.abs(values).max(axis=1, keepdims=True)
    assert (np.abs(matrix.dequantized() - values) <= 0.5 * largest + 1e-6).all()


@pytest.mark.parametrize("bits", [4, 5, 6])
def test_the_side_with_one_integer_more_is_that_of_the_largest_numbers(bits):
    """Numbers whose largest is as many steps as there are integers below zero are held exactly, either way up."""
    low, high = LEVELS[bits]
    group = np.resize(np.arange(low, high + 1, dtype=np.float32), GROUP)
    group[:2] = low, high
    values = np.concatenate([group, -group])[np.newaxis]
    matrix = round_in_groups(values, bits)
    assert (np.sign(matrix.multipliers) == [[1, -1]]).all()
    assert (matrix.integers == np.concatenate([group, group])).all()


def steps_tried_one_by_one(group, importance, bits):
    """The step of the least weighed squared error for one group, each step and sign tried on its own."""
    best, chosen = np.inf, 0.0
    divisors = np.linspace(5.5, 8.5, 25) * 2.0 ** (bits - 4)
    for divisor in (*divisors, *-divisors):
        step = np.abs(group).max() / divisor
        levels = np.clip(np.rint(group / step if step else group), *LEVELS[bits])
        error = ((levels * step - group) ** 2 * importance).sum()
        if error < best:
            best, chosen = error, step
    return chosen


@given(MATRICES, st.sampled_from([4, 5, 6]), st.integers(0, 2**32 - 1), st.booleans())
def test_both_signs_together_find_the_steps_of_each_tried_alone(values, bits, seed, weighed):
    rows, columns = values.shape
    groups = -(-columns // GROUP)
    importance = np.random.default_rng(seed).random(columns) if weighed else np.ones(columns)
    padded = np.zeros((rows + 1, groups * GROUP))
    padded[:rows, :columns], padded[rows, :columns] = values, importance
    numbers, weights = padded[:rows].reshape(rows, groups, GROUP), padded[rows].reshape(groups, GROUP)
    steps = [list(map(steps_tried_one_by_one, row, weights, [bits] * groups)) for row in numbers]
    scales, multipliers = group_scales(values, bits, importance if weighed else None)
    expected_scales, expected_multipliers = row_form(np.array(steps))
    assert scales.tobytes() == expected_scales.tobytes()
    assert multipliers.tobytes() == expected_multipliers.tobytes()


@given(arrays(np.float32, 5, elements=st.floats(0, 1e6, width=32)))
def test_short_scales_are_the_next_above_that_16_bits_hold(scales):
    short = short_scale(scales)
    assert (short >= scales).all()
    assert (short.view(np.uint32) & 0xFFFF == 0).all()
    assert (short <= np.maximum(scales, 2.0**-60) * (1 + 2.0**-7)).all()


@given(MATRICES, st.sampled_from(sorted(LEVELS)), st.integers(0, 2**32 - 1))
def test_products_are_whole_sums_scaled_once(values, bits, seed):
    matrix = to_bits(values, bits)
    x = quantize_vector(np.random.default_rng(seed).normal(size=values.shape[1]).astype(np.float32))
    sums = [sum(int(a) * int(b) for a, b in zip(row, x.integers, strict=True)) for row in matrix.widened()]
    assert max(map(abs, sums)) <= matrix.largest_sum() < 2**31
    expected = np.array(sums, np.int32).astype(np.float32) * (x.scale * matrix.scales)
    assert matrix.product(x).tobytes() == expected.tobytes()


LARGE = st.floats(-(2.0**99), 2.0**99, width=32)


@given(arrays(np.float32, st.integers(1, 40), elements=LARGE), st.sampled_from([127, 32767]))
def test_vectors_reach_their_levels_and_never_beyond(values, levels):
    whole = quantize_vector(values, levels)
    assert np.abs(whole.integers).max() in (0, levels)
    assert (np.abs(whole.integers * whole.scale.astype(np.float64) - values) <= 0.501 * whole.scale + 2.0**-56).all()


def test_a_vector_next_to_nothing_is_zeros():
    whole = quantize_vector(np.array([1e-30, -1e-25, 0.0], np.float32))
    assert whole.integers.tolist() == [0, 0, 0]
    assert float(whole.scale[0]) == 0.0


def test_ties_round_to_even():
    assert quantize_vector(np.array([127.0, 0.5, 1.5, 2.5, -0.5, -1.5], np.float32)).integers.tolist() == [
        127,
        0,
        2,
        2,
        0,
        -2,
    ]


def test_the_sums_of_a_matrix_that_is_too_wide_are_refused(monkeypatch):
    from models import ODD, random_checkpoint

    from llgen.codegen.pack import weights as packing
    from llgen.codegen.quantise.quantize import quantized
    from llgen.errors import LlgenError

    monkeypatch.setattr(packing, "_MAX_SUM", 1000)
    with pytest.raises(LlgenError, match=r"the sums of '(embedding|wqkv)' may reach .*; 32 bits hold 1,000"):
        packing.pack(quantized(random_checkpoint(ODD), "q8"), select(["avx2"]))


def test_a_matrix_knows_its_bits():
    matrix = IntMatrix(4, np.ones((2, 3), np.int8), np.ones(2, np.float32), np.array([[3], [-3]], np.int8))
    assert (matrix.bits, matrix.shape) == (4, (2, 3))
    assert matrix.widened().tolist() == [[3, 3, 3], [-3, -3, -3]]
    product = matrix.product(Quantized(np.array([1, 2, 3]), np.array([0.5], np.float32)))
    assert product.tolist() == [9.0, -9.0]
