"""Packing: matrices in the order in which kernels read them, as the bytes that go into flash."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import LlgenError
from .fold import KINDS
from .kernels import KernelSet
from .matrix import GROUP, UNPACKED, FloatMatrix, IntMatrix, Matrix
from .numerics import Array
from .quantize import QuantModel
from .sizes import round_up

_MAX_SUM = (1 << 31) - 1


@dataclass(frozen=True)
class PackedTensor:
    """One constant array of the generated weights file."""

    name: str
    shape: str
    """For the reader: the meaning of the dimensions, in C's order."""
    type: str
    """Of its elements, in C."""
    data: bytes
    """Little-endian."""

    @property
    def count(self) -> int:
        return len(self.data) // {"float": 4, "int32_t": 4, "uint16_t": 2, "int8_t": 1}[self.type]


@dataclass(frozen=True)
class MatrixPlace:
    """Where an integer matrix begins in the arrays of its kind, in elements."""

    weights: int
    scales: int
    multipliers: int | None
    """None: it has 8 bits and no multipliers."""
    bits: int


@dataclass(frozen=True)
class Packed:
    """All constant arrays of a model, in the order of one forward pass."""

    tensors: tuple[PackedTensor, ...]
    places: dict[str, tuple[MatrixPlace, ...]]
    """Of each kind of integer matrix, one place a layer."""

    def followed_by(self, tensors: Sequence[PackedTensor]) -> Packed:
        """The same with more arrays behind these."""
        return Packed((*self.tensors, *tensors), self.places)


def pack(model: QuantModel, kernels: KernelSet) -> Packed:
    """Raises LlgenError when the sums of an integer matrix could exceed 32 bits."""
    if not model.is_integer:
        return Packed(tuple(_float_tensors(model, kernels)), {})
    tensors: list[PackedTensor] = []
    places: dict[str, tuple[MatrixPlace, ...]] = {}
    named = model.matrices()
    for kind in dict.fromkeys(name.partition(".")[0] for name in named):
        matrices = [matrix for name, matrix in named.items() if name.partition(".")[0] == kind]
        if kind == "embedding" and model.classifier is not None:
            tensors += _plain_rows(kind, matrices[0])
            continue
        arrays, places[kind] = _int_arrays(kind, matrices, kernels, parts=2 if kind == "w13" else 1)
        tensors += arrays
    return Packed((*tensors, *_tables(model)), places)


def column_blocks(matrix: Array, block_rows: int) -> Array:
    """[rows, columns] -> [rows / block, columns, block]: the rows of a block side by side; missing rows are zeros."""
    rows, columns = matrix.shape
    padded = np.zeros((round_up(rows, block_rows), columns), np.float32)
    padded[:rows] = matrix
    return np.ascontiguousarray(padded.reshape(-1, block_rows, columns).transpose(0, 2, 1))


def quad_blocks(integers: npt.NDArray[np.int8], kernels: KernelSet) -> npt.NDArray[np.int8]:
    """[rows, columns] -> [row blocks, columns / side, block rows, side], `side` being `int_columns`; else zeros.

    Biased weights are bytes without a sign, 128 larger.
    With paired rows [row blocks, columns / 2, row pairs, 2, 2]: a weight and that of the next row become one number of
    16 bits, the first plus 256 times the second.
    """
    rows, columns = integers.shape
    block = kernels.block_rows(True)
    padded = np.zeros((round_up(rows, block), round_up(columns, kernels.int_step)), np.int8)
    padded[:rows, :columns] = integers
    if kernels.biased:
        padded ^= -128
    blocks = _in_blocks(padded, kernels)
    if kernels.paired_rows:
        blocks[..., 1] -= blocks[..., 0] < 0
    return blocks


def _in_blocks(padded: npt.NDArray[Any], kernels: KernelSet) -> npt.NDArray[Any]:
    """Bytes [rows, columns] in the order of `quad_blocks`."""
    block, side = kernels.block_rows(True), kernels.int_columns
    columns = padded.shape[1]
    if kernels.paired_rows:
        return padded.reshape(-1, block // 2, 2, columns // 2, 2).transpose(0, 3, 1, 4, 2).copy()
    return np.ascontiguousarray(padded.reshape(-1, block, columns // side, side).transpose(0, 2, 1, 3))


def narrow_blocks(integers: npt.NDArray[np.int8], bits: int, kernels: KernelSet) -> npt.NDArray[np.uint8]:
    """[rows, columns] of 5 or 6 bits -> [row blocks, groups of columns, bytes].

    A group of a block is that of `quad_blocks`, each weight a byte plus 16 or 32, of which the upper bits are missing:
    first the lower four of all bytes, those of the first half below those of the second; then the fifth, of each
    eighth of the bytes above that of the eighth before; or the fifth and the sixth, of each quarter.
    """
    rows, columns = integers.shape
    block, upper = kernels.block_rows(True), bits - 4
    middle = 1 << (bits - 1)
    padded = np.full((round_up(rows, block), round_up(columns, GROUP)), middle, np.uint8)
    padded[:rows, :columns] = integers + middle
    groups = _in_blocks(padded, kernels).reshape(len(padded) // block, -1, block * GROUP)
    lower = groups & 15
    half = block * GROUP // 2
    parts = (groups >> 4).reshape(*groups.shape[:2], 8 // upper, -1)
    shifts = (np.arange(8 // upper, dtype=np.uint8) * upper)[:, np.newaxis]
    above = np.bitwise_or.reduce(parts << shifts, axis=2)
    return np.concatenate([lower[..., :half] | lower[..., half:] << 4, above], axis=2).astype(np.uint8)


def nibble_blocks(integers: npt.NDArray[np.int8], kernels: KernelSet) -> npt.NDArray[np.uint8]:
    """[rows, columns] -> [row blocks, columns / (2 side), block rows, side]: a byte is two weights, each plus 8.

    Its low half is a weight of the first `side` columns, its high half of the next; missing weights are zero, so 8.
    With paired rows [row blocks, columns, 2]: 16 bits hold a weight of each of four rows, of which the last has its
    sign and no 8 added.
    """
    rows, columns = integers.shape
    block, side = kernels.block_rows(True), kernels.int_columns
    padded = np.full((round_up(rows, block), round_up(columns, kernels.four_step)), 8, np.uint8)
    padded[:rows, :columns] = integers + 8
    if kernels.paired_rows:
        fours = padded.reshape(-1, 4, padded.shape[1]).transpose(0, 2, 1).copy()
        fours[..., 3] ^= 8
        return (fours[..., ::2] | fours[..., 1::2] << 4).astype(np.uint8)
    halves = padded.reshape(-1, block, padded.shape[1] // (2 * side), 2, side)
    return np.ascontiguousarray((halves[:, :, :, 0] | halves[:, :, :, 1] << 4).transpose(0, 2, 1, 3))


def packed_weights(integers: npt.NDArray[np.int8], bits: int, kernels: KernelSet) -> bytes:
    """[rows, columns] of so many bits, in the order in which kernels read them."""
    if bits in UNPACKED:
        return narrow_blocks(integers, bits, kernels).tobytes()
    return (nibble_blocks if bits == 4 else quad_blocks)(integers, kernels).tobytes()


def _int_arrays(
    kind: str, matrices: Sequence[Matrix], kernels: KernelSet, parts: int
) -> tuple[list[PackedTensor], tuple[MatrixPlace, ...]]:
    """The weights, scales and multipliers of all layers' matrices of a kind, one behind the other."""
    weights, scales, multipliers = b"", b"", b""
    places = []
    block = kernels.block_rows(True)
    for matrix in matrices:
        assert isinstance(matrix, IntMatrix)
        bias = 128 * 127 * matrix.shape[1] if kernels.biased else 0  # times a vector's sum, as `rows_int.c.j2` begins
        if (largest := max(matrix.largest_sum(), bias)) > _MAX_SUM:
            raise LlgenError(f"the sums of '{kind}' may reach {largest:,}; 32 bits hold {_MAX_SUM:,}")
        grouped = matrix.multipliers is not None
        places.append(MatrixPlace(len(weights), len(scales) // 2, len(multipliers) if grouped else None, matrix.bits))
        for half in np.split(np.arange(matrix.shape[0]), parts):
            integers = matrix.integers[half]
            weights += packed_weights(integers, matrix.bits, kernels)
            padded = round_up(len(half), block)
            scales += _short(np.pad(matrix.scales[half], (0, padded - len(half))))
            if matrix.multipliers is not None:
                own = np.pad(matrix.multipliers[half], ((0, padded - len(half)), (0, 0)))
                multipliers += own.reshape(-1, block, own.shape[1]).transpose(0, 2, 1).tobytes()
    layered = "[layers]" if kind in KINDS else ""
    packed = "[row blocks][columns / 4][block rows][4]"
    if kernels.int_columns == 1:
        packed = "[row blocks][columns][block rows]"
    elif kernels.int_columns != 4:
        packed = packed.replace("4", str(kernels.int_columns))
    if kernels.paired_rows:
        packed = "[row blocks][columns / 2][block rows / 2][2 columns][2 rows]"
    halves = ", gate then up" if parts == 2 else ""
    tensors = [
        PackedTensor(kind, layered + packed + halves, "int8_t", weights),
        PackedTensor(f"{kind}_scales", layered + "[rows], the upper halves of float32", "uint16_t", scales),
    ]
    if multipliers:
        shape = f"[row blocks][groups of {GROUP} columns][block rows], of matrices of fewer than 8 bits"
        tensors.append(PackedTensor(f"{kind}_multipliers", shape, "int8_t", multipliers))
    return tensors, tuple(places)


def _plain_rows(name: str, matrix: Matrix) -> list[PackedTensor]:
    """An embedding that is only looked up; it has 8 bits."""
    assert isinstance(matrix, IntMatrix) and matrix.multipliers is None
    return [
        PackedTensor(name, "[vocabulary][dim]", "int8_t", matrix.integers.tobytes()),
        PackedTensor(f"{name}_scales", "[vocabulary], the upper halves of float32", "uint16_t", _short(matrix.scales)),
    ]


def _short(scales: Array) -> bytes:
    return (scales.astype("<f4").view("<u4") >> np.uint32(16)).astype("<u2").tobytes()


def _plain(name: str, shape: str, values: Array) -> PackedTensor:
    return PackedTensor(name, shape, "float", values.astype("<f4").tobytes())


def _tables(model: QuantModel) -> list[PackedTensor]:
    rope = np.stack([model.rope_cos, model.rope_sin], axis=1)
    tables = [_plain("rope", "[positions][cos, sin][head_dim / 2]", rope)]
    return tables if model.final_gain is None else [_plain("final_gain", "[dim]", model.final_gain), *tables]


def _float_tensors(model: QuantModel, kernels: KernelSet) -> list[PackedTensor]:
    rows, hidden = kernels.block_rows(False), model.config.hidden_dim
    blocked = "[row blocks][columns][block rows]"

    def values(matrix: Matrix) -> Array:
        assert isinstance(matrix, FloatMatrix)
        return matrix.values

    def stack(name: str, matrices: list[Array], note: str = "") -> PackedTensor:
        return _plain(name, "[layers]" + blocked + note, np.stack([column_blocks(matrix, rows) for matrix in matrices]))

    w13 = [
        np.concatenate([column_blocks(half, rows) for half in (values(layer.w13)[:hidden], values(layer.w13)[hidden:])])
        for layer in model.layers
    ]
    embedding = values(model.embedding)
    tensors = []
    if model.classifier is None:
        tensors.append(_plain("embedding", blocked + ", also the classifier", column_blocks(embedding, rows)))
    else:
        tensors.append(_plain("embedding", "[vocabulary][dim]", embedding))
    tensors += [
        stack("wqkv", [values(layer.wqkv) for layer in model.layers]),
        stack("wo", [values(layer.wo) for layer in model.layers]),
        _plain("w13", "[layers]" + blocked + ", gate then up", np.stack(w13)),
        stack("w2", [values(layer.w2) for layer in model.layers]),
    ]
    if model.classifier is not None:
        tensors.append(_plain("classifier", blocked, column_blocks(values(model.classifier), rows)))
    return [*tensors, *_tables(model)]
