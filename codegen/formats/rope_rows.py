"""The two orders of the rows of wq and wk, and the way from one to the other.

RoPE rotates pairs of elements of a head. Hugging Face pairs i with i + head_dim / 2 ("half-split"); llama2.c and
llama.cpp's Llama pair 2i with 2i + 1 ("interleaved"). The rows of the matrices that make queries and keys follow, so a
conversion reorders them: same numbers, other places. Attention sums over the elements of a head, and gives the same.
"""

from __future__ import annotations

from ..checkpoint import Tensor

_ROTATED = ("q_proj.weight", "k_proj.weight")


def is_rotated(name: str) -> bool:
    """Whether the tensor of this Hugging Face name makes queries or keys."""
    return name.endswith(_ROTATED)


def to_half_split(name: str, tensor: Tensor, head_dim: int) -> Tensor:
    """Reorder rows [heads, pair, 2] of wq or wk to [heads, 2, pair]; give other tensors back as they are."""
    return _swap(tensor, head_dim // 2, 2) if is_rotated(name) else tensor


def to_interleaved(name: str, tensor: Tensor, head_dim: int) -> Tensor:
    """Reorder rows [heads, 2, pair] of wq or wk to [heads, pair, 2]; give other tensors back as they are."""
    return _swap(tensor, 2, head_dim // 2) if is_rotated(name) else tensor


def _swap(tensor: Tensor, first: int, second: int) -> Tensor:
    rows, columns = tensor.shape
    heads = rows // (first * second)
    return tensor.reshape(heads, first, second, columns).swapaxes(1, 2).reshape(rows, columns)
