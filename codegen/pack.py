"""Packing: matrices in the order in which kernels read them, as the bytes that go into flash."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .kernels import KernelSet
from .numerics import Array
from .plan import round_up
from .quantize import QuantModel


@dataclass(frozen=True)
class PackedTensor:
    """One constant array of the generated weights file."""

    name: str
    shape: str
    """For the reader: the meaning of the dimensions, in C's order."""
    data: bytes
    """Little-endian float32."""


def column_blocks(matrix: Array, block_rows: int) -> Array:
    """[rows, columns] -> [rows / block, columns, block]: the rows of a block side by side; missing rows are zeros."""
    rows, columns = matrix.shape
    padded = np.zeros((round_up(rows, block_rows), columns), np.float32)
    padded[:rows] = matrix
    return np.ascontiguousarray(padded.reshape(-1, block_rows, columns).transpose(0, 2, 1))


def pack(model: QuantModel, kernels: KernelSet) -> tuple[PackedTensor, ...]:
    """All constant arrays of a model, in the order of one forward pass."""
    rows, hidden = kernels.block_rows, model.config.hidden_dim

    def stack(name: str, shape: str, matrices: list[Array]) -> PackedTensor:
        blocks = [column_blocks(matrix, rows) for matrix in matrices]
        return PackedTensor(name, shape, np.stack(blocks).astype("<f4").tobytes())

    def plain(name: str, shape: str, values: Array) -> PackedTensor:
        return PackedTensor(name, shape, values.astype("<f4").tobytes())

    def gate_and_up(w13: Array) -> Array:
        halves = [column_blocks(half, rows) for half in (w13[:hidden], w13[hidden:])]
        return np.concatenate(halves)

    layers = model.layers
    w13 = np.stack([gate_and_up(layer.w13) for layer in layers])
    rope = np.stack([model.rope_cos, model.rope_sin], axis=1)
    blocked = "[row blocks][columns][block rows]"
    tensors = []
    if model.classifier is None:
        tensors.append(plain("embedding", blocked + ", also the classifier", column_blocks(model.embedding, rows)))
    else:
        tensors.append(plain("embedding", "[vocabulary][dim]", model.embedding))
    tensors += [
        stack("wqkv", "[layers]" + blocked, [layer.wqkv for layer in layers]),
        stack("wo", "[layers]" + blocked, [layer.wo for layer in layers]),
        plain("w13", "[layers]" + blocked + ", gate then up", w13),
        stack("w2", "[layers]" + blocked, [layer.w2 for layer in layers]),
    ]
    if model.final_gain is not None:
        tensors.append(plain("final_gain", "[dim]", model.final_gain))
    if model.classifier is not None:
        tensors.append(plain("classifier", blocked, column_blocks(model.classifier, rows)))
    tensors.append(plain("rope", "[positions][cos, sin][head_dim / 2]", rope))
    return tuple(tensors)
