"""Smoothing: what feed-forward layers hand to their last matrix, with channels of more like size.

A hidden channel may be divided by any number, if the matrix behind multiplies by it: the row of `up` that makes it, and
the column of w2 that takes it. Channels that are large on a text are divided by some of what they are larger, so that
vectors lose less by rounding; not by all of it, for the columns grow by as much, and lose more (SmoothQuant: Xiao et
al., 2022, arXiv:2211.10438). The channels of the residual stream are turned instead, see `codegen.rotation`; these
cannot be, as SwiGLU multiplies them one by one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from llgen.codegen.fold import FoldedModel
from llgen.codegen.numerics import flush_subnormals

from .folded import FoldedLlama

_STRENGTH = 0.25
"""The power of a channel's size that it is divided by: vectors of stories3M lose a sixth less so, and matrices of 5
bits no more; with 0.5 these lose what vectors win."""
_SMALLEST = 1e-3
"""Of the largest channel's size: smaller ones are treated as if they had it."""


def smoothed(folded: FoldedModel, batches: Iterable[Tensor]) -> FoldedModel:
    """The same function as `folded`, smoothed by what it computes on batches of tokens [B, T]."""
    matrices = dict(folded.matrices)
    hidden = folded.spec.config.hidden_dim
    for layer, sizes in enumerate(_hidden_sizes(folded, batches)):
        floored = sizes.clamp(min=_SMALLEST * float(sizes.max()) or 1.0)
        divisor = (floored / floored.log().mean().exp()).pow(_STRENGTH).float().numpy()
        gate, up = np.split(matrices[f"w13.{layer}"], [hidden])
        matrices[f"w13.{layer}"] = flush_subnormals(np.concatenate([gate, up / divisor[:, np.newaxis]]))
        matrices[f"w2.{layer}"] = flush_subnormals(matrices[f"w2.{layer}"] * divisor)
    return replace(folded, matrices=matrices)


@torch.inference_mode()
def _hidden_sizes(folded: FoldedModel, batches: Iterable[Tensor]) -> list[Tensor]:
    """Of each layer the root mean squares of its hidden channels, [hidden_dim]."""
    config = folded.spec.config
    sums = [torch.zeros(config.hidden_dim, dtype=torch.float64) for _ in range(config.n_layers)]

    def observe(name: str, x: Tensor, y: Tensor) -> None:
        kind, _, layer = name.partition(".")
        if kind == "w2":
            sums[int(layer)] += x.flatten(0, -2).double().square().sum(0)

    model, matrices = FoldedLlama.exact(folded)
    positions = 0
    for tokens in batches:
        model.before_logits(tokens[:, :-1], matrices, observe)
        positions += tokens[:, :-1].numel()
    return [(total / positions).sqrt() for total in sums]
