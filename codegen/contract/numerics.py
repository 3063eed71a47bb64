"""The operations of the numeric contract, in NumPy: what generated C computes, to the last bit.

Every operation here is IEEE binary32, rounded to nearest even, in an order that is written down; see doc/numerics.md.
The same functions in C are in templates/: change both or neither.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

Float = np.float32
Array = npt.NDArray[np.float32]
Real = TypeVar("Real", Array, npt.NDArray[np.float64])

LANES = 8
"""Partial sums of a reduction over a vector: element i goes to lane i mod 8."""

# exp(x) = 2^n exp(r), n = x log2(e) rounded, r = x - n ln 2 in two steps, exp(r) = 1 + r + r^2 P(r). P is a
# least-maximum fit of the relative error on |r| <= ln(2)/2 (3e-9); the whole stays below one unit in the last place.
EXP_LIMIT = Float(64.0)
LOG2E = Float(1.44269502)
LN2_HIGH = Float(0.693359375)  # 9 bits: n * LN2_HIGH is exact
LN2_LOW = Float(-0.000212194442)
ROUND_TO_WHOLE = Float(12582912.0)  # 1.5 * 2^23: adding it leaves the nearest integer in the low mantissa bits
EXP_POLYNOMIAL = tuple(Float(c) for c in (0.00138145243, 0.00836874731, 0.0416683927, 0.166665196, 0.49999994))


def exp(x: Array) -> Array:
    """e^x, elementwise; exactly 0 below -64, and e^64 above 64.

    The cut-off keeps products with the result away from subnormals, which some targets flush to zero.
    """
    clamped = np.clip(x, -EXP_LIMIT, EXP_LIMIT)
    shifted = clamped * LOG2E + ROUND_TO_WHOLE
    n = shifted - ROUND_TO_WHOLE
    r = clamped - n * LN2_HIGH
    r = r - n * LN2_LOW
    poly = np.full_like(r, EXP_POLYNOMIAL[0])
    for coefficient in EXP_POLYNOMIAL[1:]:
        poly = poly * r + coefficient
    value = poly * (r * r) + r
    value = value + Float(1.0)
    power = ((shifted.view(np.uint32) << np.uint32(23)) + np.uint32(0x3F800000)).view(Float)
    result: Array = np.where(x >= -EXP_LIMIT, value * power, Float(0.0))
    return result


def lane_sum(values: Array) -> Array:
    """The sum over the last axis: eight lanes, each in ascending order, then a fixed tree."""
    padding = -values.shape[-1] % LANES
    padded = np.concatenate([values, np.zeros((*values.shape[:-1], padding), Float)], axis=-1)
    lanes = np.zeros((*values.shape[:-1], LANES), Float)
    for start in range(0, padded.shape[-1], LANES):
        lanes = lanes + padded[..., start : start + LANES]
    for width in (4, 2, 1):
        lanes = lanes[..., :width] + lanes[..., width : 2 * width]
    result: Array = lanes[..., 0]
    return result


def rms_scale(x: Array, eps: Float) -> Array:
    """1 / sqrt(mean(x^2) + eps) over the last axis (Zhang and Sennrich, 2019, arXiv:1910.07467); shape [..., 1]."""
    mean = lane_sum(x * x) / Float(x.shape[-1])
    scale: Array = (Float(1.0) / np.sqrt(mean + eps))[..., np.newaxis]
    return scale


def matvec(weights: Array, x: Array) -> Array:
    """`weights` [rows, columns] times `x` [..., columns]; each output accumulates over the columns, ascending."""
    columns = np.ascontiguousarray(weights.T)
    total = np.zeros((*x.shape[:-1], weights.shape[0]), Float)
    product = np.empty_like(total)
    for column, values in enumerate(columns):
        np.multiply(x[..., column, np.newaxis], values, out=product)
        np.add(total, product, out=total)
    return total


def swiglu(gate: Array, up: Array) -> Array:
    """silu(gate) * up (Shazeer, 2020, arXiv:2002.05202)."""
    result: Array = gate / (Float(1.0) + exp(-gate)) * up
    return result


def rotate(x: Array, cos: Array, sin: Array) -> Array:
    """RoPE (Su et al., 2021, arXiv:2104.09864): element i of a head turns with element i + head_dim / 2.

    `x` [..., head_dim]; `cos` and `sin` [..., head_dim / 2], broadcast against it.
    """
    half = x.shape[-1] // 2
    low, high = x[..., :half], x[..., half:]
    result: Array = np.concatenate([low * cos - high * sin, high * cos + low * sin], axis=-1)
    return result


def hadamard(x: Real, block: int) -> Real:
    """The Walsh-Hadamard transform of each `block` elements of the last axis, a power of two that divides it.

    Sums and differences of elements 1 apart, then 2, 4, ... (the fast transform); twice gives `block` times `x`.
    """
    if block == 1:
        return x
    turned = np.ascontiguousarray(x.reshape(-1, block).T)  # so that sums are of long rows, whatever the stride
    stride = 1
    while stride < block:
        low, high = turned.reshape(-1, 2, stride, turned.shape[1]).swapaxes(0, 1)
        turned = np.stack([low + high, low - high], axis=1).reshape(turned.shape)
        stride *= 2
    return np.ascontiguousarray(turned.T).reshape(x.shape)


SMALLEST_STEP = Float(2.0**-56)
"""A vector with no larger number is quantised to zeros: the product of two such scales could be subnormal."""
WEIGHT_LEVELS = 32767
"""The integer for the largest attention weight, so that 16 bits hold all of them."""
CHUNK = 512
"""Positions whose weighted 8-bit values are summed in int32: 512 x 32767 x 127 is below 2^31."""


@dataclass(frozen=True)
class Quantized:
    """Vectors as integers, with one scale for each vector."""

    integers: npt.NDArray[np.int32]
    """[..., width]"""
    scale: Array
    """[..., 1]"""


def quantize_vector(x: Array, levels: int = 127) -> Quantized:
    """Integers from -levels to levels, where the largest |x| becomes `levels`; ties round to even.

    Each vector along the last axis has a scale of its own.
    """
    largest = np.abs(x).max(axis=-1, keepdims=True)
    zero = largest < SMALLEST_STEP
    inverse = np.where(zero, Float(0.0), Float(levels) / np.where(zero, Float(1.0), largest))
    scale = np.where(zero, Float(0.0), largest * (Float(1.0) / Float(levels)))
    return Quantized(np.rint(x * inverse).astype(np.int32), scale)


def flush_subnormals(values: Array) -> Array:
    """Subnormal numbers become zero: the vector unit of ARMv7 would read them so, others would not."""
    result: Array = np.where(np.abs(values) < np.finfo(Float).tiny, Float(0.0), values)
    return result
