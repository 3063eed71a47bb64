"""Computing the gradients of a batch in this process alone; see also replicas.py and distributed.py.

Each way leaves the mean gradient of the whole batch in the model's parameters, and returns the loss of the whole batch.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from .device import arithmetic
from .model import Llama
from .objective import Objective


class Gradients(Protocol):
    """A way to compute the gradients of a batch."""

    def add(self, inputs: Tensor, targets: Tensor, share: float, *, last: bool = True) -> float:
        """Add `share` times the mean gradient of `inputs` and `targets` [B, T]; returns their mean loss.

        The loss is in nats per token. `last` tells that this is the last batch before the optimiser's step.
        """

    def close(self) -> None:
        """Free what it holds, such as other processes; a second call does nothing."""


class Alone:
    """One model in one process."""

    def __init__(self, model: Llama, objective: Objective, device: torch.device, dtype: torch.dtype) -> None:
        self.model: nn.Module = model
        self._objective, self._device, self._dtype = objective, device, dtype

    def add(self, inputs: Tensor, targets: Tensor, share: float, *, last: bool = True) -> float:
        return float(self.backward(inputs, targets, share))

    def close(self) -> None:
        pass

    def backward(self, inputs: Tensor, targets: Tensor, share: float) -> Tensor:
        """As `add`, but the loss is a tensor that the device may still be computing."""
        inputs, targets = (part.to(self._device, non_blocking=True) for part in (inputs, targets))
        with arithmetic(self._device, self._dtype):
            loss = self._objective(self.model, inputs, targets)
        (loss * share).backward()  # type: ignore[no-untyped-call]
        return loss.detach()
