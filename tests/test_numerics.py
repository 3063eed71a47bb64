import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from llgen.codegen.contract import numerics
from llgen.codegen.contract.matrix import SMALLEST_SCALE

FLOATS = st.floats(-100, 100, width=32)


def test_exp_is_within_one_unit_in_the_last_place():
    x = np.linspace(-64, 64, 2_000_001).astype(np.float32)
    exact = np.exp(x.astype(np.float64))
    unit = np.spacing(exact.astype(np.float32)).astype(np.float64)
    assert np.max(np.abs(numerics.exp(x) - exact) / unit) < 1.0


def test_exp_at_its_ends():
    x = np.array([-np.inf, -65, np.nextafter(np.float32(-64), np.float32(-65)), 0, 64, 65, np.inf, np.nan], np.float32)
    y = numerics.exp(x)
    assert y[:3].tolist() == [0, 0, 0]
    assert y[3] == 1
    assert y[4] == y[5] == y[6]
    assert y[7] == 0  # so that a distribution over such logits is empty, not poisoned


@given(hnp.arrays(np.float32, st.integers(1, 40), elements=FLOATS))
def test_lane_sum_has_eight_lanes_and_a_tree(values):
    lanes = [np.float32(0)] * 8
    for index, value in enumerate(values):
        lanes[index % 8] = lanes[index % 8] + value
    while len(lanes) > 1:
        half = len(lanes) // 2
        lanes = [lanes[i] + lanes[i + half] for i in range(half)]
    assert numerics.lane_sum(values).tobytes() == lanes[0].tobytes()


@given(st.integers(1, 9), st.integers(1, 20), st.integers(0, 2**32 - 1))
def test_matvec_accumulates_in_ascending_order(rows, columns, seed):
    generator = np.random.default_rng(seed)
    weights = generator.standard_normal((rows, columns)).astype(np.float32)
    x = generator.standard_normal((3, columns)).astype(np.float32)
    y = numerics.matvec(weights, x)
    for position in range(3):
        for row in range(rows):
            total = np.float32(0)
            for column in range(columns):
                total = total + weights[row, column] * x[position, column]
            assert y[position, row].tobytes() == total.tobytes()


@given(st.sampled_from([(16, 1), (16, 16), (48, 16), (96, 32), (64, 64)]), st.integers(0, 2**32 - 1), st.integers(1, 3))
def test_hadamard_adds_and_subtracts_in_its_order(shape, seed, count):
    width, block = shape
    x = np.random.default_rng(seed).standard_normal((count, width)).astype(np.float32)
    expected = x.copy()
    for row in expected:
        for stride in (2**power for power in range(block.bit_length() - 1)):
            for i in range(width):
                if i // stride % 2 == 0:
                    row[i], row[i + stride] = row[i] + row[i + stride], row[i] - row[i + stride]
    found = numerics.hadamard(x, block)
    assert found.tobytes() == expected.tobytes()
    np.testing.assert_allclose(numerics.hadamard(found, block), block * x, rtol=1e-5, atol=1e-4 * block)


def test_no_product_of_two_scales_is_subnormal():
    smallest = numerics.quantize_vector(np.array([numerics.SMALLEST_STEP], np.float32)).scale[0]
    assert smallest > 0
    normal = np.finfo(np.float32).tiny
    assert smallest * smallest >= normal
    assert smallest * np.float32(SMALLEST_SCALE) >= normal


def test_subnormals_are_flushed():
    tiny = np.finfo(np.float32).tiny
    values = np.array([tiny, -tiny, tiny / 2, -1e-45, 0, 1], np.float32)
    assert numerics.flush_subnormals(values).tolist() == [tiny, -tiny, 0, 0, 0, 1]
