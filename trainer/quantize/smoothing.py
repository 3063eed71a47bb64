"""Smoothing: what feed-forward layers hand to their last matrix, with channels of more like size.

A hidden channel may be divided by any number, if the matrix behind multiplies by it: the row of `up` that makes it, and
the column of w2 that takes it. Channels that are large on a text are divided by more than small ones, so that vectors
lose less by rounding; not by all of their size, for the columns grow by as much, and lose more (SmoothQuant: Xiao et
al., 2022, arXiv:2211.10438). Channels of the residual stream are mixed instead, see `codegen.rotation`; hidden ones
cannot be, as SwiGLU multiplies them one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from llgen.codegen.fold import FoldedModel
from llgen.codegen.numerics import flush_subnormals

from .folded import FoldedLlama

_STRENGTH = 0.25
"""The power of a channel's size that it is divided by. Rounding the vectors alone costs stories3M 0.0032 nats without,
0.0027 so, and 0.0024 with 0.5; 5 bits by GPTQ besides 0.0342, 0.0331 and 0.0336."""
_SMALLEST = 1e-3
"""Of the largest channel's size: smaller ones are divided as if they had it."""


def smoothed(folded: FoldedModel, divisors: Sequence[Tensor]) -> FoldedModel:
    """The same function as `folded`, with the hidden channels of each layer divided [hidden_dim]."""
    matrices = dict(folded.matrices)
    hidden = folded.spec.config.hidden_dim
    for layer, each in enumerate(divisors):
        divisor = each.numpy()
        gate, up = np.split(matrices[f"w13.{layer}"], [hidden])
        matrices[f"w13.{layer}"] = flush_subnormals(np.concatenate([gate, up / divisor[:, np.newaxis]]))
        matrices[f"w2.{layer}"] = flush_subnormals(matrices[f"w2.{layer}"] * divisor)
    return replace(folded, matrices=matrices)


@torch.inference_mode()
def hidden_divisors(
    folded: FoldedModel, batches: Sequence[Tensor], told: Callable[[int], None] = lambda done: None
) -> list[Tensor]:
    """By what `smoothed` is to divide, from the sizes of channels on batches of tokens [B, T]; float32."""
    config = folded.spec.config
    sums = [torch.zeros(config.hidden_dim, dtype=torch.float64) for _ in range(config.n_layers)]

    def observe(name: str, x: Tensor, y: Tensor) -> None:
        kind, _, layer = name.partition(".")
        if kind == "w2":
            sums[int(layer)] += x.flatten(0, -2).double().square().sum(0)

    model, matrices = FoldedLlama.exact(folded)
    for done, tokens in enumerate(batches):
        told(done)
        model.before_logits(tokens[:, :-1], matrices, observe)
    positions = sum(tokens[:, :-1].numel() for tokens in batches)
    sizes = [(total / positions).sqrt() for total in sums]
    return [size.clamp(min=_SMALLEST * float(size.max()) or 1.0).pow(_STRENGTH).float() for size in sizes]
