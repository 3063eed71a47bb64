"""Smoothing: making the hidden channels of feed-forward layers more equal in size before they are rounded.

A hidden channel may be divided by any number if the next matrix multiplies by it: the row of `up` that computes the
channel is divided, and the column of `down` that reads it is multiplied. Channels that are large on a text are divided
by larger numbers, so that vectors lose less by rounding. The divisor is less than the size of the channel, because the
columns of `down` grow by the divisor and then lose more (SmoothQuant: Xiao et al., 2022, arXiv:2211.10438). Channels of
the residual stream are mixed by a rotation instead, see `codegen.quantise.rotation`; hidden channels cannot be mixed,
because SwiGLU multiplies each by its gate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from llgen.codegen.contract.numerics import flush_subnormals
from llgen.codegen.model.architectures.graph import Graph, SwiGLU, WeightMatrix
from llgen.codegen.quantise.fold import FoldedModel

from .folded import FoldedLlama

_STRENGTH = 0.25
"""A channel is divided by its size to this power. For stories3M, rounding only the vectors costs 0.0032 nats with power
0, 0.0027 with 0.25 and 0.0024 with 0.5; with weights of 5 bits by GPTQ too, it costs 0.0342, 0.0331 and 0.0336."""
_SMALLEST = 1e-3
"""Minimum size of a channel, as a share of the largest; smaller channels are treated as if they had this size."""


def smoothed(folded: FoldedModel, divisors: Sequence[Tensor]) -> FoldedModel:
    """A model that computes the same as `folded`, with the hidden channels of each layer divided by its `divisors`."""
    matrices = dict(folded.matrices)
    before, after = _around_hidden(folded.spec.graph)
    for layer, each in enumerate(divisors):
        divisor, (makes, takes) = each.numpy(), (matrix.name_in(layer) for matrix in (before, after))
        gate, up = (matrices[makes][rows] for _, rows in before.slices())
        matrices[makes] = flush_subnormals(np.concatenate([gate, up / divisor[:, np.newaxis]]))
        matrices[takes] = flush_subnormals(matrices[takes] * divisor)
    return replace(folded, matrices=matrices)


def _around_hidden(graph: Graph) -> tuple[WeightMatrix, WeightMatrix]:
    """The matrix whose parts, gate and up, compute the hidden channels, and the matrix that reads the channels."""
    swiglu = next(operation for operation in graph.operations if isinstance(operation, SwiGLU))
    makes = next(product for product in graph.products if product.output == swiglu.input)
    takes = next(product for product in graph.products if product.input == swiglu.output)
    return makes.matrix, takes.matrix


@torch.inference_mode()
def hidden_divisors(
    folded: FoldedModel, batches: Sequence[Tensor], told: Callable[[int], None] = lambda done: None
) -> list[Tensor]:
    """The divisors of each layer for `smoothed`, [hidden_dim] in float32, from channel sizes on `batches` [B, T]."""
    config = folded.spec.config
    _, after = _around_hidden(folded.spec.graph)
    layers = {after.name_in(layer): layer for layer in range(config.n_layers)}
    sums = [torch.zeros(config.hidden_dim, dtype=torch.float64) for _ in range(config.n_layers)]

    def observe(name: str, x: Tensor, y: Tensor) -> None:
        if name in layers:
            sums[layers[name]] += x.flatten(0, -2).double().square().sum(0)

    model, matrices = FoldedLlama.exact(folded)
    for done, tokens in enumerate(batches):
        told(done)
        model.before_logits(tokens[:, :-1], matrices, observe)
    positions = sum(tokens[:, :-1].numel() for tokens in batches)
    sizes = [(total / positions).sqrt() for total in sums]
    return [size.clamp(min=_SMALLEST * float(size.max()) or 1.0).pow(_STRENGTH).float() for size in sizes]
