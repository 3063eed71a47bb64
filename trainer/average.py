"""An exponential moving average of the weights (Polyak and Juditsky, 1992): smoother than the weights themselves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """The average of a model's trained parameters. With `decay` 0 there is no average: the parameters are used.

    In the first iterations the decay is smaller, so that the average covers only the iterations done.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._decay = decay
        self._parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.tensors: list[Tensor] = [parameter.detach().clone() for parameter in self._parameters] if decay else []

    @torch.no_grad()
    def update(self, iteration: int) -> None:
        """Add the weights after `iteration`, counted from 1, to the average."""
        if self.tensors:
            decay = min(self._decay, iteration / (iteration + 9))
            torch._foreach_lerp_(self.tensors, [parameter.detach() for parameter in self._parameters], 1.0 - decay)

    @torch.no_grad()
    def reset(self) -> None:
        """Start the average again from the model's present weights."""
        for average, parameter in zip(self.tensors, self._parameters, strict=True):
            average.copy_(parameter)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Inside the block, the model has the averaged weights."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for parameter, average in zip(self._parameters if self.tensors else (), self.tensors, strict=True):
            kept = parameter.detach().clone()
            parameter.copy_(average)
            average.copy_(kept)
