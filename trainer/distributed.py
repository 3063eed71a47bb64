"""Computing the gradients of a batch in processes on many machines.

The import of FSDP takes nearly as long as the import of PyTorch. So replicas and commands that do not train import
gradients.py alone.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.nn.parallel import DistributedDataParallel

from .gradients import Alone
from .model import Llama
from .objective import Objective
from .processes import Processes


class Distributed(Alone):
    """The processes of a group: each computes its part of every batch, and the gradients are averaged.

    Each process has the whole model (DDP: Li et al., 2020, arXiv:2006.15704), unless `shard_weights` divided it.
    """

    def __init__(self, model: Llama, objective: Objective, processes: Processes, dtype: torch.dtype) -> None:
        super().__init__(model, objective, processes.device, dtype)
        self._processes = processes
        if not isinstance(model, FSDPModule):
            self.model = DistributedDataParallel(model)
            # RoPE's tables never change, so they need not be sent with every batch. The option of the same name is
            # deprecated from PyTorch 2.13 on; the attribute works in 2.10 to 2.13.
            self.model.broadcast_buffers = False

    def add(self, inputs: Tensor, targets: Tensor, share: float, *, last: bool = True) -> float:
        with self._averaging(last):
            loss = self.backward(inputs, targets, share)
        return self._processes.mean(float(loss))

    def _averaging(self, last: bool) -> AbstractContextManager[None]:
        """Processes exchange gradients only after the last batch before a step."""
        if isinstance(self.model, FSDPModule):
            self.model.set_requires_gradient_sync(last)
        elif isinstance(self.model, DistributedDataParallel) and not last:
            return self.model.no_sync()
        return nullcontext()


def shard_weights(model: Llama) -> None:
    """Divide the weights, gradients and optimiser state among the processes of the group.

    The weights of a layer are gathered only while the layer is computed (FSDP: Zhao et al., 2023, arXiv:2304.11277).
    """
    for layer in model.model.layers:
        fully_shard(layer)
    fully_shard(model)
