"""The two row orders of the query and key matrices, and the conversion between them.

RoPE rotates pairs of elements of a head. Hugging Face pairs i with i + head_dim / 2 ("half-split"); llama2.c and
llama.cpp's Llama pair 2i with 2i + 1 ("interleaved"). The rows of the matrices that make queries and keys are stored in
the same order, so a conversion reorders rows and changes no number. Attention sums over the elements of a head, so its
result is the same.
"""

from __future__ import annotations

from ..contract.numerics import Array
from ..model.architectures import graph_of
from ..model.config import ModelConfig


def to_half_split(name: str, tensor: Array, config: ModelConfig) -> Array:
    """Reorder rows [heads, pair, 2] that make queries or keys to [heads, 2, pair]; return other tensors as they are.

    `name` is Hugging Face's.
    """
    return _swap(tensor, config.head_dim // 2, 2) if name in graph_of(config).rotated else tensor


def to_interleaved(name: str, tensor: Array, config: ModelConfig) -> Array:
    """Reorder rows [heads, 2, pair] that make queries or keys to [heads, pair, 2]; return other tensors as they are.

    `name` is Hugging Face's.
    """
    return _swap(tensor, 2, config.head_dim // 2) if name in graph_of(config).rotated else tensor


def _swap(tensor: Array, first: int, second: int) -> Array:
    rows, columns = tensor.shape
    heads = rows // (first * second)
    return tensor.reshape(heads, first, second, columns).swapaxes(1, 2).reshape(rows, columns)
