"""Who computes the gradients of a batch: this model alone, or processes on many machines; see also replicas.py.

Each way leaves the mean gradient of the whole batch in the model's parameters, and returns the whole batch's loss.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.nn.parallel import DistributedDataParallel

from .device import arithmetic
from .model import Llama
from .objective import Objective
from .processes import Processes


class Gradients(Protocol):
    """A way to compute the gradients of a batch."""

    def add(self, inputs: Tensor, targets: Tensor, share: float, *, last: bool = True) -> float:
        """Add `share` times this batch's mean gradient, and return its mean loss over `inputs`, `targets` [B, T].

        `last` says that no further batch follows before the step.
        """

    def close(self) -> None:
        """Give back what it holds; safe to call twice."""


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
        """As `add`, without waiting for the loss."""
        inputs, targets = (part.to(self._device, non_blocking=True) for part in (inputs, targets))
        with arithmetic(self._device, self._dtype):
            loss = self._objective(self.model, inputs, targets)
        (loss * share).backward()  # type: ignore[no-untyped-call]
        return loss.detach()


class Distributed(Alone):
    """The processes of a group, each with its part of every batch, whose gradients are averaged.

    Each process has the whole model (DDP: Li et al., 2020, arXiv:2006.15704), unless its weights are divided
    (`shard_weights`).
    """

    def __init__(self, model: Llama, objective: Objective, processes: Processes, dtype: torch.dtype) -> None:
        super().__init__(model, objective, processes.device, dtype)
        self._processes = processes
        if not isinstance(model, FSDPModule):
            self.model = DistributedDataParallel(model, broadcast_buffers=False)  # RoPE's tables never change

    def add(self, inputs: Tensor, targets: Tensor, share: float, *, last: bool = True) -> float:
        with self._averaging(last):
            loss = self.backward(inputs, targets, share)
        return self._processes.mean(float(loss))

    def _averaging(self, last: bool) -> AbstractContextManager[None]:
        """Gradients travel with the last batch alone."""
        if isinstance(self.model, FSDPModule):
            self.model.set_requires_gradient_sync(last)
        elif isinstance(self.model, DistributedDataParallel) and not last:
            return self.model.no_sync()
        return nullcontext()


def shard_weights(model: Llama) -> None:
    """Divide weights, and so gradients and the optimiser's state, among the processes of the group.

    A layer's weights come together only while it is computed (FSDP: Zhao et al., 2023, arXiv:2304.11277).
    """
    for layer in model.model.layers:
        fully_shard(layer)
    fully_shard(model)
