"""Folding: fewer operations for the same function, before any number is rounded.

In every scheme the gains of the norms and 1 / sqrt(head_dim) are multiplied into the matrix that follows, in float32,
and subnormals become zero. For integer schemes, channels are also mixed, see `rotation`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from llgen.errors import unknown_name

from ..contract.numerics import Array, Float, flush_subnormals
from ..model.architectures.graph import WeightMatrix
from ..model.spec import ModelSpec
from .rotation import gain_block, mixed

SCHEMES = ("f32", "q8", "q4")


@dataclass(frozen=True)
class FoldedModel:
    """The float32 matrices that a scheme rounds, by the names of `Graph.each_matrix`."""

    spec: ModelSpec
    scheme: str
    """The one that it was folded for"""
    matrices: Mapping[str, Array]
    final_gain: Array | None
    """[dim]; None when it is folded into a classifier of its own"""
    gain_block: int
    """As in QuantModel."""


def fold(spec: ModelSpec, scheme: str) -> FoldedModel:
    """Multiply gains into the matrices that follow: the gain first, then query rows by 1 / sqrt(head_dim), in float32.

    This order of rounding is contract. A tied embedding is looked up too, so the last gain stays by itself. The
    channels of matrices that become integers are mixed then. Raises UsageError for a scheme that does not exist.
    """
    matrices = dict(folded_matrices(spec, scheme))
    own = spec.graph.own_gain
    final_gain = None if own is None else spec.gains[own.gain.name.huggingface]
    block = gain_block(spec.config, scheme)
    return FoldedModel(
        spec,
        scheme,
        matrices,
        None if final_gain is None else flush_subnormals(final_gain / Float(block)),
        block,
    )


def folded_matrices(spec: ModelSpec, scheme: str) -> Iterator[tuple[str, Array]]:
    """Yield each of `FoldedModel.matrices` with its name, one at a time, in the order of a forward pass.

    Raises UsageError for a scheme that does not exist.
    """
    if scheme not in SCHEMES:
        raise unknown_name("scheme", scheme, SCHEMES)
    for name, matrix, layer in spec.graph.each_matrix():
        values = _folded(name, matrix, layer, spec)
        yield name, flush_subnormals(values if scheme == "f32" else mixed({name: values}, spec.config)[name])


def _folded(name: str, matrix: WeightMatrix, layer: int, spec: ModelSpec) -> Array:
    values = spec.matrices[name]
    if matrix.gain is not None:
        values = values * spec.gains[matrix.gain.name.of(layer).huggingface]
    if any(part.scale != 1.0 for part in matrix.parts):
        values = np.concatenate([values[rows] * Float(part.scale) for part, rows in matrix.slices()])
    return values
