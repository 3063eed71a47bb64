"""A matrix as the device holds it: float32, or integers with scales; and its product in NumPy, which is the contract.

An 8-bit matrix has one scale per row. A matrix of fewer bits also has a multiplier for each group of 32 columns of a
row: a small integer, by which the sum of the group's products is multiplied. All sums are sums of integers, so that
their order does not change them. A multiplier has a sign, because there is one more integer below zero than above it:
the sign puts this integer on the side of the group's largest numbers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from .numerics import Array, Float, Quantized, matvec

Int8 = npt.NDArray[np.int8]

GROUP = 32
"""Columns that share a multiplier, of a matrix that has multipliers."""
LEVELS = {8: (-127, 127), 6: (-32, 31), 5: (-16, 15), 4: (-8, 7)}
"""Number of bits -> the smallest and the largest integer of a weight; -128 never occurs."""
UNPACKED = frozenset({5, 6})
"""Bits of matrices that kernels unpack to bytes before they multiply them."""
MAX_MULTIPLIER = 127
SMALLEST_SCALE = 2.0**-60
"""Smallest scale of a row, so that its product with a vector's scale is never subnormal."""


@dataclass(frozen=True)
class FloatMatrix:
    """[rows, columns] of float32."""

    values: Array

    bits = 32

    @property
    def shape(self) -> tuple[int, int]:
        rows, columns = self.values.shape
        return rows, columns

    @property
    def stored_bits(self) -> int:
        """Bits of all that it holds."""
        return 32 * self.values.size

    def arrays(self) -> dict[str, Array]:
        """All that it holds, by name."""
        return {"values": self.values}

    def dequantized(self) -> Array:
        """The numbers that the integers stand for."""
        return self.values

    def product(self, x: Array) -> Array:
        """The matrix times `x` [..., columns], each output summed over the columns in ascending order."""
        return matvec(self.values, x)


@dataclass(frozen=True)
class IntMatrix:
    """[rows, columns] of integers."""

    bits: int
    """Of each: one of `LEVELS`."""
    integers: Int8
    scales: Array
    """[rows]; its lower 16 bits are zero, so that 16 bits hold it"""
    multipliers: Int8 | None = None
    """[rows, columns / 32, rounded up] of a matrix of fewer than 8 bits, None of an 8-bit one"""

    def __post_init__(self) -> None:
        assert (self.multipliers is None) == (self.bits == 8)

    @property
    def shape(self) -> tuple[int, int]:
        rows, columns = self.integers.shape
        return rows, columns

    @property
    def stored_bits(self) -> int:
        """Bits of all that it holds: 16 of a scale, 8 of a multiplier."""
        extra = 0 if self.multipliers is None else 8 * self.multipliers.size
        return self.bits * self.integers.size + 16 * self.scales.size + extra

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """All that it holds, by name."""
        held: dict[str, npt.NDArray[Any]] = {"integers": self.integers, "scales": self.scales}
        return held if self.multipliers is None else held | {"multipliers": self.multipliers}

    def widened(self) -> npt.NDArray[np.int32]:
        """The integers times the multipliers of their groups, [rows, columns]."""
        wide = self.integers.astype(np.int32)
        return wide if self.multipliers is None else wide * spread(self.multipliers, wide.shape[1])

    def steps(self) -> Array:
        """What one integer is worth, [rows, columns]: exact, for scales and multipliers have 8 binary digits each."""
        if self.multipliers is None:
            return np.repeat(self.scales[:, np.newaxis], self.shape[1], axis=1)
        steps: Array = spread(self.multipliers, self.shape[1]) * self.scales[:, np.newaxis]
        return steps

    def dequantized(self) -> Array:
        """The numbers that the integers stand for."""
        values: Array = self.widened().astype(Float) * self.scales[:, np.newaxis]
        return values

    def product(self, x: Quantized) -> Array:
        """The matrix times a quantised `x` [..., columns]: whole sums, each scaled once.

        The sums fit int32 (`largest_sum`), and are computed here in float64, which holds them exactly and has BLAS.
        """
        sums = x.integers.astype(np.float64) @ self.widened().T.astype(np.float64)
        result: Array = sums.astype(np.int32).astype(Float) * (x.scale * self.scales)
        return result

    def largest_sum(self) -> int:
        """What no sum of products with a quantised vector can exceed."""
        return 127 * int(np.abs(self.widened()).sum(axis=1).max())


Matrix = FloatMatrix | IntMatrix


def spread(groups: Int8, columns: int) -> Int8:
    """A number for each column from one for each group, [rows, columns]."""
    return np.repeat(groups, GROUP, axis=1)[:, :columns]


# ------------------------------------------------------------------------------------------------ round to nearest


def to_bits(values: Array, bits: int) -> Matrix:
    """A matrix rounded to nearest: 32 bits leave it as it is, fewer make it integers."""
    if bits == 32:
        return FloatMatrix(values)
    return round_to_8(values) if bits == 8 else round_in_groups(values, bits)


def round_to_8(values: Array) -> IntMatrix:
    """The nearest 8-bit matrix whose rows' largest numbers are 127 steps."""
    scales = short_scale(np.abs(values).max(axis=1) / 127.0)
    integers = np.clip(np.rint(divided(values, scales[:, np.newaxis])), *LEVELS[8])
    return IntMatrix(8, integers.astype(np.int8), scales)


def round_in_groups(values: Array, bits: int) -> IntMatrix:
    """A near matrix of fewer than 8 bits: of a few scales for each group, the one with the least squared error."""
    form = IntMatrix(bits, np.zeros(values.shape, np.int8), *group_scales(values, bits))
    integers = np.clip(np.rint(divided(values, form.steps())), *LEVELS[bits])
    return replace(form, integers=integers.astype(np.int8))


def group_scales(values: Array, bits: int, importance: Array | None = None) -> tuple[Array, Int8]:
    """Scales [rows] and multipliers [rows, groups] for a form of `values` [rows, columns] of fewer than 8 bits.

    A group's step is tried from its largest number divided by a little more than the levels on one side (8.5 at 4
    bits) to its largest number divided by two thirds of the levels (5.5), with either sign. The step of the least
    squared error is kept; each column's error is weighed by `importance` [columns] when that is given. Clipping the
    largest number a little rounds all others better.
    """
    rows, columns = values.shape
    groups = -(-columns // GROUP)
    padded = np.zeros((rows, groups * GROUP))
    padded[:, :columns] = values
    weight = np.ones(groups * GROUP)
    if importance is not None:
        weight[:columns] = importance
    return row_form(_best_steps(padded.reshape(rows, groups, GROUP), weight.reshape(groups, GROUP), bits))


def _best_steps(
    grouped: npt.NDArray[np.float64], weight: npt.NDArray[np.float64], bits: int
) -> npt.NDArray[np.float64]:
    """Steps [rows, groups] of the least weighed squared error, for numbers [rows, groups, GROUP].

    A negative step rounds to the negated integers, so it only moves the borders at which they are clipped. Therefore
    both signs share one division and one rounding.
    """
    low, high = LEVELS[bits]
    borders = ((low, high), (-high, -low))  # of integers in positive steps, then of those in negative steps, negated
    largest = np.abs(grouped).max(axis=2)
    least = np.full((2, *largest.shape), np.inf)
    steps = np.zeros((2, *largest.shape))
    off = np.empty_like(grouped)
    for divisor in np.linspace(5.5, 8.5, 25) * 2.0 ** (bits - 4):
        trial = largest / divisor
        nearest = np.rint(divided(grouped, trial[..., np.newaxis]))
        for sign, (first, last) in enumerate(borders):
            np.clip(nearest, first, last, out=off)
            off *= trial[..., np.newaxis]
            off -= grouped
            off *= off
            off *= weight
            error = off.sum(axis=2)
            better = error < least[sign]
            np.copyto(least[sign], error, where=better)
            np.copyto(steps[sign], trial, where=better)
    chosen: npt.NDArray[np.float64] = np.where(least[1] < least[0], -steps[1], steps[0])
    return chosen


def row_form(steps: npt.NDArray[np.float64]) -> tuple[Array, Int8]:
    """The scales [rows] and multipliers [rows, groups] that hold the groups' `steps` [rows, groups] best."""
    scales = short_scale(np.abs(steps).max(axis=1) / MAX_MULTIPLIER)
    sizes = np.clip(np.rint(np.abs(steps) / scales[:, np.newaxis]), 1, MAX_MULTIPLIER)
    return scales, np.where(steps < 0, -sizes, sizes).astype(np.int8)


def short_scale(scales: npt.NDArray[np.float64] | Array) -> Array:
    """The next number above each scale that 16 bits hold (bfloat16), so that nothing exceeds the levels by it.

    A scale of zero, and one so small that products with it would be subnormal, becomes SMALLEST_SCALE.
    """
    bits = np.maximum(scales, SMALLEST_SCALE).astype(np.float32).view(np.uint32)
    rounded: Array = ((bits + np.uint32(0xFFFF)) & np.uint32(0xFFFF0000)).view(np.float32)
    return rounded


def divided(values: npt.NDArray[np.float64] | Array, steps: npt.NDArray[np.float64] | Array) -> npt.NDArray[np.float64]:
    """`values` in steps; a step of zero stands for zeros."""
    return np.divide(values, steps, out=np.zeros(np.broadcast_shapes(values.shape, steps.shape)), where=steps != 0)
