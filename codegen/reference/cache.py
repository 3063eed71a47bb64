"""The keys and values of one layer, and attention over them: float32, or 8 bits with one scale a head vector."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt

from ..contract.numerics import CHUNK, WEIGHT_LEVELS, Array, Float, exp, lane_sum, quantize_vector


class Cache(Protocol):
    """Grows by positions, and mixes the values of those there are."""

    @classmethod
    def empty(cls, n_kv_heads: int, head_dim: int) -> Self: ...

    def extend(self, keys: Array, values: Array) -> None:
        """Add rotated keys and values, [positions, n_kv_heads, head_dim]."""

    def attend(self, q: Array, positions: int) -> Array:
        """Softmax attention of `q` [n_heads, head_dim] over the first `positions`: [n_heads * head_dim].

        Query heads share the key/value heads in order. `q` carries the factor 1 / sqrt(head_dim) already.
        """


@dataclass
class FloatCache:
    """[positions so far, n_kv_heads, head_dim] of float32.

    A score accumulates over the head's elements in ascending order, an output over the positions in ascending order;
    the outputs are multiplied by the reciprocal of the sum of exponentials at the end.
    """

    keys: Array
    values: Array

    @classmethod
    def empty(cls, n_kv_heads: int, head_dim: int) -> Self:
        nothing = np.zeros((0, n_kv_heads, head_dim), Float)
        return cls(nothing, nothing)

    def extend(self, keys: Array, values: Array) -> None:
        self.keys = np.concatenate([self.keys, keys])
        self.values = np.concatenate([self.values, values])

    def attend(self, q: Array, positions: int) -> Array:
        n_heads, head_dim = q.shape
        group = n_heads // self.keys.shape[1]
        keys = np.repeat(self.keys[:positions], group, axis=1)
        values = np.repeat(self.values[:positions], group, axis=1)
        scores = np.zeros((n_heads, positions), Float)
        for i in range(head_dim):
            scores = scores + q[:, i, np.newaxis] * keys[:, :, i].T
        odds = exp(scores - scores.max(axis=1, keepdims=True))
        total = np.zeros((n_heads, head_dim), Float)
        for position in range(positions):
            total = total + odds[:, position, np.newaxis] * values[position]
        mixed: Array = total * (Float(1.0) / lane_sum(odds))[:, np.newaxis]
        return mixed.reshape(-1)


@dataclass
class IntCache:
    """Integers [positions so far, n_kv_heads, head_dim] and scales [positions so far, n_kv_heads].

    A score is an integer sum, scaled once. For the outputs, each exponential is multiplied by the scale of its value,
    and these products become integers of 16 bits. They are multiplied by the values and summed as integers over chunks
    of up to 512 positions; the sums of the chunks are added in float32, in ascending order.
    """

    keys: npt.NDArray[np.int32]
    key_scales: Array
    values: npt.NDArray[np.int32]
    value_scales: Array

    @classmethod
    def empty(cls, n_kv_heads: int, head_dim: int) -> Self:
        integers, scales = np.zeros((0, n_kv_heads, head_dim), np.int32), np.zeros((0, n_kv_heads), Float)
        return cls(integers, scales, integers, scales)

    def extend(self, keys: Array, values: Array) -> None:
        k, v = quantize_vector(keys), quantize_vector(values)
        self.keys = np.concatenate([self.keys, k.integers])
        self.key_scales = np.concatenate([self.key_scales, k.scale[..., 0]])
        self.values = np.concatenate([self.values, v.integers])
        self.value_scales = np.concatenate([self.value_scales, v.scale[..., 0]])

    def attend(self, q: Array, positions: int) -> Array:
        n_heads, head_dim = q.shape
        group = n_heads // self.keys.shape[1]
        query = quantize_vector(q)
        keys = np.repeat(self.keys[:positions], group, axis=1)
        values = np.repeat(self.values[:positions], group, axis=1)
        key_scales = np.repeat(self.key_scales[:positions], group, axis=1).T  # [n_heads, positions]
        value_scales = np.repeat(self.value_scales[:positions], group, axis=1).T
        sums = np.einsum("hi,phi->hp", query.integers, keys)
        scores = sums.astype(Float) * (query.scale * key_scales)
        odds = exp(scores - scores.max(axis=1, keepdims=True))
        weights = quantize_vector(odds * value_scales, WEIGHT_LEVELS)
        total = np.zeros((n_heads, head_dim), Float)
        for start in range(0, positions, CHUNK):
            chunk = slice(start, start + CHUNK)
            whole = np.einsum("hp,phi->hi", weights.integers[:, chunk], values[chunk])
            total = total + whole.astype(np.int32).astype(Float)
        mixed: Array = total * (weights.scale * (Float(1.0) / lane_sum(odds))[:, np.newaxis])
        return mixed.reshape(-1)
