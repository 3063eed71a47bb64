"""Sizes of read-only data: packed matrices and tables, padded as the kernels need it."""

from __future__ import annotations

import math

from llgen.targets.instruction_sets import InstructionSet

from ..contract.matrix import GROUP, FloatMatrix, Matrix
from ..quantise.quantize import QuantModel


def round_up(count: int, multiple: int) -> int:
    """The smallest multiple of `multiple` that is at least `count`."""
    return -(-count // multiple) * multiple


def operand_elements(columns: int, kernels: InstructionSet) -> int:
    """Elements of an integer vector of `columns` elements, rounded up to whole groups of a matrix with groups."""
    return round_up(columns, math.lcm(kernels.int_step, GROUP))


def matrix_sizes(model: QuantModel, kernels: InstructionSet) -> dict[str, int]:
    """Bytes of every matrix as it is packed, by the names of `QuantModel.matrices`."""
    graph = model.graph
    return {
        name: _matrix_bytes(
            matrix, kernels, blocks=name not in graph.only_looked_up, parts=graph.matrix(name).padded_parts
        )
        for name, matrix in model.matrices.items()
    }


def section_sizes(model: QuantModel, kernels: InstructionSet) -> dict[str, int]:
    """Bytes of every kind of matrix, and of the other tables."""
    sizes: dict[str, int] = {}
    for name, size in matrix_sizes(model, kernels).items():
        kind = name.partition(".")[0]
        sizes[kind] = sizes.get(kind, 0) + size
    return sizes | {
        "final_gain": 0 if model.final_gain is None else 4 * model.config.dim,
        "rope": 4 * model.context * model.config.head_dim,
    }


def _matrix_bytes(matrix: Matrix, kernels: InstructionSet, *, blocks: bool, parts: int) -> int:
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
