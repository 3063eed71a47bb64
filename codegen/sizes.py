"""Sizes of what is read-only: packed matrices and tables, in the units that kernels go by."""

from __future__ import annotations

import math

from .kernels import KernelSet
from .matrix import GROUP, UNPACKED, FloatMatrix, Matrix
from .quantize import QuantModel, only_looked_up

_UNPACKING_BYTES = 256
"""Of the stack, for a function that unpacks weights: registers that it puts aside, and counters."""


def round_up(count: int, multiple: int) -> int:
    """The least multiple that is not below `count`."""
    return -(-count // multiple) * multiple


def operand_elements(columns: int, kernels: KernelSet) -> int:
    """Elements of an integer vector of so many columns, in whole groups of a matrix that has them."""
    return round_up(columns, math.lcm(kernels.int_step, GROUP))


def matrix_sizes(model: QuantModel, kernels: KernelSet) -> dict[str, int]:
    """Bytes of every matrix as it is packed, by the names of `QuantModel.matrices`."""
    matrices = model.matrices()
    looked_up = only_looked_up(matrices)
    return {
        # Gate and up are padded each.
        name: _matrix_bytes(matrix, kernels, blocks=name not in looked_up, parts=2 if name[:3] == "w13" else 1)
        for name, matrix in matrices.items()
    }


def promised_stack(model: QuantModel, kernels: KernelSet) -> int:
    """Bytes that the generated code's stack stays below: where weights are unpacked, those of a group besides."""
    if model.bits_used.isdisjoint(UNPACKED):
        return kernels.stack_bytes
    rows = kernels.block_rows(True)
    sums = 3 * 4 * rows  # of two positions, and of the group
    return kernels.stack_bytes + GROUP * rows + sums + _UNPACKING_BYTES


def section_sizes(model: QuantModel, kernels: KernelSet) -> dict[str, int]:
    """Bytes of every kind of matrix, and of the other tables."""
    sizes: dict[str, int] = {}
    for name, size in matrix_sizes(model, kernels).items():
        kind = name.partition(".")[0]
        sizes[kind] = sizes.get(kind, 0) + size
    return sizes | {
        "final_gain": 0 if model.final_gain is None else 4 * model.config.dim,
        "rope": 4 * model.context * model.config.head_dim,
    }


def _matrix_bytes(matrix: Matrix, kernels: KernelSet, *, blocks: bool, parts: int) -> int:
    """Bytes of a packed matrix with its scales and multipliers; without `blocks` rows are stored one by one."""
    rows, columns = matrix.shape
    if isinstance(matrix, FloatMatrix):
        padded = parts * round_up(rows // parts, kernels.block_rows(False)) if blocks else rows
        return 4 * padded * columns
    if not blocks:
        return rows * columns + 2 * rows
    padded = parts * round_up(rows // parts, kernels.block_rows(True))
    if matrix.multipliers is None:
        return padded * round_up(columns, kernels.int_step) + 2 * padded
    groups = -(-columns // GROUP)
    held = round_up(columns, kernels.four_step if matrix.bits == 4 else GROUP)
    return padded * (held * matrix.bits // 8 + groups) + 2 * padded
