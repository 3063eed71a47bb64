"""Low-rank adapters (LoRA: Hu et al., 2021, arXiv:2106.09685): fine-tuning that trains a few numbers a matrix.

An adapted weight is W + B A / sqrt(rank), in which W stays as it was and B begins at zero. The scale is that of
rsLoRA (Kalajdzievski, 2023, arXiv:2312.03732), under which the rank does not change what learning rate is right.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from .model import Llama


class LowRank(nn.Module):
    """What an adapter makes of a weight [R, C]: the weight plus a product of [R, rank] and [rank, C]."""

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        rows, columns = weight.shape
        self.up = nn.Parameter(torch.zeros(rows, rank))
        self.down = nn.Parameter(torch.randn(rank, columns) / math.sqrt(columns))
        self.scale = 1.0 / math.sqrt(rank)

    def forward(self, weight: Tensor) -> Tensor:
        return weight + self.scale * (self.up @ self.down)


def add_adapters(model: Llama, rank: int) -> None:
    """Give every matrix of the layers an adapter, and train those alone."""
    model.requires_grad_(False)
    for module in model.model.layers.modules():
        if isinstance(module, nn.Linear):
            parametrize.register_parametrization(module, "weight", LowRank(module.weight, rank))


def merge_adapters(model: Llama) -> None:
    """Write the adapters into the weights, so that a plain model is left; one without adapters stays as it is."""
    for module in model.modules():
        if isinstance(module, nn.Linear) and parametrize.is_parametrized(module):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)
