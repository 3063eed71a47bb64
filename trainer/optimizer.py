"""Which optimiser updates which parameters: Muon for the layers' matrices and AdamW for the rest, or AdamW for all.

AdamW is Adam with decoupled weight decay (Loshchilov and Hutter, 2019, arXiv:1711.05101).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from .config import TrainConfig
from .muon import Muon


class Optimizers:
    """The optimisers of one model, used as one; every group of parameters keeps its own peak learning rate."""

    def __init__(self, parts: list[torch.optim.Optimizer]) -> None:
        self.parts = parts
        for group in self._groups():
            group["peak"] = group["lr"]

    def step(self, factor: float) -> None:
        """Update the weights with `factor` times the peak learning rates."""
        for group in self._groups():
            group["lr"] = group["peak"] * factor
        for part in self.parts:
            part.step()

    def zero_grad(self) -> None:
        """Delete the gradients."""
        for part in self.parts:
            part.zero_grad(set_to_none=True)

    def _groups(self) -> list[dict[str, Any]]:
        return [group for part in self.parts for group in part.param_groups]


def make_optimizers(model: nn.Module, config: TrainConfig) -> Optimizers:
    """The optimisers that `config.optimizer` sets, for all parameters of the model that require gradients."""
    settings = config.optimizer
    trained = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    hidden = [  # adapters are matrices too, but of low rank; AdamW updates them
        parameter for name, parameter in trained if settings.name == "muon" and name.endswith("_proj.weight")
    ]
    taken = set(map(id, hidden))
    others = [parameter for _, parameter in trained if id(parameter) not in taken]
    # Beside Muon, an embedding learns best without decay: most of its rows get a gradient too seldom to recover.
    decay = 0.0 if hidden else settings.weight_decay
    groups = [
        {"params": [parameter for parameter in others if parameter.dim() >= 2], "weight_decay": decay},
        {"params": [parameter for parameter in others if parameter.dim() < 2], "weight_decay": 0.0},
    ]
    parts: list[torch.optim.Optimizer] = []
    if hidden:
        parts.append(Muon(hidden, settings.matrix_learning_rate, settings.momentum, settings.weight_decay))
    if others:
        betas = (settings.beta1, settings.beta2)
        parts.append(torch.optim.AdamW([g for g in groups if g["params"]], config.learning_rate, betas, fused=True))
    return Optimizers(parts)
