"""Who computes the gradients of a batch: this model alone, threads on one machine, or processes on many.

Each way leaves the mean gradient of the whole batch in the model's parameters, and returns the whole batch's loss.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
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


class Alone:
    """One model in one process."""

    def __init__(self, model: Llama, objective: Objective, device: torch.device, dtype: torch.dtype) -> None:
        self.model: nn.Module = model
        self._objective, self._device, self._dtype = objective, device, dtype

    def add(self, inputs: Tensor, targets: Tensor, share: float, *, last: bool = True) -> float:
        return float(self.backward(inputs, targets, share))

    def backward(self, inputs: Tensor, targets: Tensor, share: float) -> Tensor:
        """As `add`, without waiting for the loss."""
        inputs, targets = (part.to(self._device, non_blocking=True) for part in (inputs, targets))
        with arithmetic(self._device, self._dtype):
            loss = self._objective(self.model, inputs, targets)
        (loss * share).backward()  # type: ignore[no-untyped-call]
        return loss.detach()


class Threads:
    """Replicas of a narrow model on the cores of one machine, each with its part of every batch.

    PyTorch divides an operator among cores, and a narrow model's operators are too short for that. So the batch is
    divided instead: replicas share the weights' memory and have gradients of their own, which are added in a fixed
    order. Python's lock is free while an operator runs.
    """

    def __init__(self, model: Llama, objective: Objective, count: int, dtype: torch.dtype) -> None:
        cpu = torch.device("cpu")
        self._model = model
        self._copies = [_sharing_weights(model) for _ in range(count - 1)]
        self._workers = [Alone(each, objective, cpu, dtype) for each in (model, *self._copies)]
        self._pool = ThreadPoolExecutor(count - 1, "llgen-replica")

    def add(self, inputs: Tensor, targets: Tensor, share: float, *, last: bool = True) -> float:
        parts = list(
            zip(inputs.tensor_split(len(self._workers)), targets.tensor_split(len(self._workers)), strict=True)
        )
        shares = [len(part) / len(inputs) for part, _ in parts]
        running = [
            self._pool.submit(worker.backward, *part, share * own)
            for worker, part, own in zip(self._workers[1:], parts[1:], shares[1:], strict=True)
            if own
        ]
        losses = [self._workers[0].backward(*parts[0], share * shares[0])] + [each.result() for each in running]
        self._collect()
        return float(sum(own * float(loss) for own, loss in zip(shares, losses, strict=False)))

    @torch.no_grad()
    def _collect(self) -> None:
        """Add the copies' gradients to the model's, and drop them."""
        for copy in self._copies:
            pairs = [
                (whole.grad, part.grad)
                for whole, part in zip(self._model.parameters(), copy.parameters(), strict=True)
                if whole.grad is not None and part.grad is not None
            ]
            if pairs:
                torch._foreach_add_(*map(list, zip(*pairs, strict=True)))
            copy.zero_grad(set_to_none=True)


def _sharing_weights(model: Llama) -> Llama:
    """A model whose parameters are the other's memory, with gradients of its own."""
    copy = deepcopy(model)
    for ours, theirs in zip(copy.parameters(), model.parameters(), strict=True):
        ours.data = theirs.data
    return copy


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
