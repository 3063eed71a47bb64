"""The operators of a Llama that PyTorch has no single one for, and those that a narrow model spends its time in."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


class Operators:
    """PyTorch's own: for every device and format, and the meaning of every other implementation.

    Shapes: B batch, T time (positions), H query heads, G key/value heads, E head_dim, V vocabulary.
    """

    def rms_norm(self, x: Tensor, gain: Tensor, eps: float) -> Tensor:
        """`x` over the root mean square of its last axis, times the gain."""
        return F.rms_norm(x, gain.shape, gain, eps)

    def attention(self, q: Tensor, k: Tensor, v: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Causal attention [B, T, H, E] of queries [B, T, H, E] over keys and values [B, T, G, E], from position 0 on.

        Queries and keys are turned by `cos` and `sin` [T, E / 2] first.
        """
        q, k, v = (part.transpose(1, 2) for part in (q, k, v))
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        k, v = shared(k, q.shape[1]), shared(v, q.shape[1])
        return F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2)

    def swiglu(self, gate: Tensor, up: Tensor) -> Tensor:
        """silu(gate) * up."""
        return F.silu(gate) * up

    def cross_entropy(self, logits: Tensor, targets: Tensor) -> Tensor:
        """As the function of that name."""
        return cross_entropy(logits, targets)


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean nats a token of `targets` [B, T] under `logits` [B, T, V]."""
    return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn element i of each head [.., T, E] together with element i + E / 2 (Hugging Face's half-split pairs)."""
    first, second = x.chunk(2, dim=-1)  # [.., T, E / 2]
    return torch.cat((first * cos - second * sin, first * sin + second * cos), dim=-1)


def shared(x: Tensor, heads: int) -> Tensor:
    """Keys or values [B, G, T, E] once for each of the query heads that share them: [B, H, T, E]."""
    group = heads // x.shape[1]
    return x if group == 1 else x.repeat_interleave(group, dim=1)
