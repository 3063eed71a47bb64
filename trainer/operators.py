"""The operators that take most of a narrow model's time, in PyTorch; fused.py has them in C."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


class Operators:
    """PyTorch's operators, for every device and format. They define what other implementations must compute.

    Shapes: B batch, T time (positions), H query heads, G key/value heads, E head_dim, V vocabulary.
    """

    def rms_norm(self, x: Tensor, gain: Tensor, eps: float) -> Tensor:
        """`x` divided by the root mean square of its last axis, times `gain`."""
        return F.rms_norm(x, gain.shape, gain, eps)

    def attention(self, q: Tensor, k: Tensor, v: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Causal attention [B, T, H, E] of queries `q` [B, T, H, E] over `k` and `v` [B, T, G, E], from position 0 on.

        Queries and keys are first rotated by `cos` and `sin` [T, E / 2].
        """
        q, k, v = (part.transpose(1, 2) for part in (q, k, v))
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        k, v = shared(k, q.shape[1]), shared(v, q.shape[1])
        return F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2)

    def swiglu(self, gate: Tensor, up: Tensor) -> Tensor:
        """silu(gate) * up."""
        return F.silu(gate) * up

    def cross_entropy(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Mean nats per token of `targets` [B, T] under `logits` [B, T, V]."""
        return cross_entropy(logits, targets)


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean nats per token of `targets` [B, T] under `logits` [B, T, V]."""
    return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate element i and element i + E / 2 of each head [.., T, E] as a pair (Hugging Face's half-split order)."""
    first, second = x.chunk(2, dim=-1)  # [.., T, E / 2]
    return torch.cat((first * cos - second * sin, first * sin + second * cos), dim=-1)


def shared(x: Tensor, heads: int) -> Tensor:
    """Repeat keys or values [B, G, T, E] for each query head that shares them: [B, H, T, E]."""
    group = heads // x.shape[1]
    return x if group == 1 else x.repeat_interleave(group, dim=1)
