"""Low-rank adapters (LoRA: Hu et al., 2021, arXiv:2106.09685): fine-tuning that trains a few numbers for each matrix.

An adapted weight is W + B A / sqrt(rank). W does not change, and B starts at zero. The scale is that of rsLoRA
(Kalajdzievski, 2023, arXiv:2312.03732): with it, the best learning rate does not depend on the rank.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from .model import Llama


class LowRank(nn.Module):
    """An adapter: maps a weight [R, C] to the weight plus a product of [R, rank] and [rank, C]."""

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        rows, columns = weight.shape
        self.up = nn.Parameter(torch.zeros(rows, rank))
        self.down = nn.Parameter(torch.randn(rank, columns) / math.sqrt(columns))
        self.scale = 1.0 / math.sqrt(rank)

    def forward(self, weight: Tensor) -> Tensor:
        return weight + self.scale * (self.up @ self.down)


def add_adapters(model: Llama, rank: int) -> None:
    """Give every matrix of the layers an adapter of `rank`; only the adapters are trained from then on."""
    model.requires_grad_(False)
    for module in model.model.layers.modules():
        if isinstance(module, nn.Linear):
            parametrize.register_parametrization(module, "weight", LowRank(module.weight, rank))


def merge_adapters(model: Llama) -> None:
    """Add the adapters to the weights and remove them; a model without adapters does not change."""
    for module in model.modules():
        if isinstance(module, nn.Linear) and parametrize.is_parametrized(module):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)
