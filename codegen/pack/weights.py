"""Packing: matrices in the order in which kernels read them, as the bytes that go into flash."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from llgen.errors import LlgenError
from llgen.targets.instruction_sets import InstructionSet

from ..contract.matrix import GROUP, UNPACKED, FloatMatrix, IntMatrix, Matrix
from ..contract.numerics import Array
from ..model.architectures.graph import OUTSIDE, WeightMatrix
from ..plan.sizes import round_up
from ..quantise.quantize import QuantModel

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
        """The same, with more arrays after these."""
        return Packed((*self.tensors, *tensors), self.places)


def pack(model: QuantModel, kernels: InstructionSet) -> Packed:
    """Raises LlgenError when the sums of an integer matrix could exceed 32 bits."""
    if not model.is_integer:
        return Packed(tuple(_float_tensors(model, kernels)), {})
    tensors: list[PackedTensor] = []
    places: dict[str, tuple[MatrixPlace, ...]] = {}
    for form, matrices in _by_form(model):
        if form.name in model.graph.only_looked_up:
            tensors += _plain_rows(form.name, matrices[0])
            continue
        arrays, places[form.name] = _int_arrays(form, matrices, kernels)
        tensors += arrays
    return Packed((*tensors, *_tables(model)), places)


def _by_form(model: QuantModel) -> Iterator[tuple[WeightMatrix, list[Matrix]]]:
    """The matrices of all layers that are one in the graph, for each matrix of the graph."""
    for form in model.graph.matrices.values():
        layers = range(model.config.n_layers) if form.layered else (OUTSIDE,)
        yield form, [model.matrices[form.name_in(layer)] for layer in layers]


def column_blocks(matrix: Array, block_rows: int) -> Array:
    """[rows, columns] -> [rows / block, columns, block]: the rows of a block side by side; missing rows are zeros."""
    rows, columns = matrix.shape
    padded = np.zeros((round_up(rows, block_rows), columns), np.float32)
    padded[:rows] = matrix
    return np.ascontiguousarray(padded.reshape(-1, block_rows, columns).transpose(0, 2, 1))


def packed_weights(integers: npt.NDArray[np.int8], bits: int, kernels: InstructionSet) -> bytes:
    """[rows, columns] of integers of `bits` bits, in the order in which kernels read them."""
    layout = kernels.layout
    if bits in UNPACKED:
        return layout.five_or_six_bits(integers, bits).tobytes()
    return (layout.four_bits(integers) if bits == 4 else layout.eight_bits(integers)).tobytes()


def _int_arrays(
    form: WeightMatrix, matrices: Sequence[Matrix], kernels: InstructionSet
) -> tuple[list[PackedTensor], tuple[MatrixPlace, ...]]:
    """The weights, scales and multipliers of a matrix of the graph, one layer after the other."""
    weights, scales, multipliers = b"", b"", b""
    places = []
    block, layout = kernels.block_rows(True), kernels.layout
    for matrix in matrices:
        assert isinstance(matrix, IntMatrix)
        largest = max(matrix.largest_sum(), layout.largest_start(matrix.shape[1]))
        if largest > _MAX_SUM:
            raise LlgenError(f"the sums of '{form.name}' may reach {largest:,}; 32 bits hold {_MAX_SUM:,}")
        grouped = matrix.multipliers is not None
        places.append(MatrixPlace(len(weights), len(scales) // 2, len(multipliers) if grouped else None, matrix.bits))
        for rows in np.split(np.arange(matrix.shape[0]), form.padded_parts):
            integers = matrix.integers[rows]
            weights += packed_weights(integers, matrix.bits, kernels)
            padded = round_up(len(rows), block)
            scales += _short(np.pad(matrix.scales[rows], (0, padded - len(rows))))
            if matrix.multipliers is not None:
                own = np.pad(matrix.multipliers[rows], ((0, padded - len(rows)), (0, 0)))
                multipliers += own.reshape(-1, block, own.shape[1]).transpose(0, 2, 1).tobytes()
    layered = "[layers]" if form.layered else ""
    tensors = [
        PackedTensor(form.name, layered + layout.eight_shape + _parts_note(form), "int8_t", weights),
        PackedTensor(f"{form.name}_scales", layered + "[rows], the upper halves of float32", "uint16_t", scales),
    ]
    if multipliers:
        shape = f"[row blocks][groups of {GROUP} columns][block rows], of matrices of fewer than 8 bits"
        tensors.append(PackedTensor(f"{form.name}_multipliers", shape, "int8_t", multipliers))
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


def _float_tensors(model: QuantModel, kernels: InstructionSet) -> list[PackedTensor]:
    graph, block = model.graph, kernels.block_rows(False)

    def blocks(form: WeightMatrix, matrix: Matrix) -> Array:
        assert isinstance(matrix, FloatMatrix)
        if form.name in graph.only_looked_up:
            return matrix.values
        return np.concatenate([column_blocks(rows, block) for rows in np.split(matrix.values, form.padded_parts)])

    tensors = []
    for form, matrices in _by_form(model):
        shape = ("[layers]" if form.layered else "") + "[row blocks][columns][block rows]" + _parts_note(form)
        if form.name in graph.only_looked_up:
            shape = "[vocabulary][dim]"
        elif form == graph.embedding:
            shape += ", also the classifier"
        tensors.append(_plain(form.name, shape, np.stack([blocks(form, matrix) for matrix in matrices])))
    return [*tensors, *_tables(model)]


def _parts_note(form: WeightMatrix) -> str:
    """The parts of a matrix that begin a block of rows each, for the reader."""
    return f", {' then '.join(part.title for part in form.parts)}" if form.apart else ""
