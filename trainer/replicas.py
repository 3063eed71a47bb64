"""Replicas of a narrow model on the cores of one machine: each is a process that computes its part of every batch.

PyTorch divides each operator among cores, and the operators of a narrow model are too short to be divided. So the batch
is divided. Processes are used and not threads, because every operator takes Python's lock: two threads of a model of 64
dimensions are hardly faster than one.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.multiprocessing as mp
from torch import Tensor

from llgen.errors import LlgenError

from .device import operator_threads
from .gradients import Alone
from .model import Llama
from .objective import Objective

Numbers = Sequence[Tensor]
"""A tensor for each trained parameter, in memory that all processes share."""


@dataclass(frozen=True)
class _Task:
    """A part of a batch, NumPy arrays [B, T], and the factor of its gradient."""

    inputs: Any
    targets: Any
    share: float


@dataclass(frozen=True)
class _Work:
    """The work of another process, with all that it needs."""

    make: Callable[[], Llama]
    weights: Numbers
    objective: Objective
    dtype: torch.dtype

    def go_on(self, gradients: Numbers, end: Any) -> None:
        """Compute the gradients of each task that comes through `end`, until the sender closes it."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)  # all processes get both; the first process decides
        model = self.make()
        for parameter, weights, gradient in zip(trained(model), self.weights, gradients, strict=True):
            parameter.data, parameter.grad = weights.data, gradient
        worker = Alone(model, self.objective, torch.device("cpu"), self.dtype)
        with operator_threads(1):
            while True:
                try:
                    task: _Task = end.recv()
                except EOFError:
                    return
                try:
                    torch._foreach_zero_(list(gradients))
                    loss = worker.backward(torch.from_numpy(task.inputs), torch.from_numpy(task.targets), task.share)
                    end.send(float(loss))
                except Exception as error:  # the first process reports it, whatever it is
                    end.send(str(error).partition("\n")[0])


class Replicas:
    """This process's model, and other processes that share its weights and compute gradients of their parts.

    The gradients are added in a fixed order, so that the losses repeat.
    """

    def __init__(
        self, model: Llama, make: Callable[[], Llama], objective: Objective, count: int, dtype: torch.dtype
    ) -> None:
        """`make` returns another model with the same parameters. `make` and `objective` are sent to other processes."""
        self._own = Alone(model, objective, torch.device("cpu"), dtype)
        model.share_memory()
        self._trained = trained(model)
        self._others = [_Other(_Work(make, self._trained, objective, dtype)) for _ in range(count - 1)]

    def add(self, inputs: Tensor, targets: Tensor, share: float, *, last: bool = True) -> float:
        """As `Gradients.add`; raises LlgenError when another process failed."""
        count = 1 + len(self._others)
        parts = list(zip(inputs.tensor_split(count), targets.tensor_split(count), strict=True))
        shares = [len(part) / len(inputs) for part, _ in parts]
        busy = [(other, own) for other, own in zip(self._others, shares[1:], strict=True) if own]
        for (other, own), (its_inputs, its_targets) in zip(busy, parts[1:], strict=False):
            other.begin(_Task(its_inputs.numpy(), its_targets.numpy(), share * own))
        loss = shares[0] * float(self._own.backward(*parts[0], share * shares[0]))
        for other, own in busy:
            loss += own * other.loss()
            self._take(other.gradients)
        return loss

    @torch.no_grad()
    def _take(self, gradients: Numbers) -> None:
        ours = [parameter.grad for parameter in self._trained if parameter.grad is not None]
        torch._foreach_add_(ours, list(gradients))

    def close(self) -> None:
        """End the other processes."""
        for other in self._others:
            other.close()


def trained(model: Llama) -> list[Tensor]:
    """The parameters that training changes."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def _shared(tensor: Tensor) -> Tensor:
    moved: Tensor = tensor.share_memory_()  # type: ignore[no-untyped-call]
    return moved


class _Other:
    """The first process's end of another process."""

    def __init__(self, work: _Work) -> None:
        self.gradients = [_shared(torch.zeros_like(parameter)) for parameter in work.weights]
        context = mp.get_context("spawn")  # a fork would copy locks that other threads hold
        self._end, end = context.Pipe()
        self._process = context.Process(
            target=work.go_on, args=(self.gradients, end), name="llgen-replica", daemon=True
        )
        self._process.start()
        end.close()

    def begin(self, task: _Task) -> None:
        try:
            self._end.send(task)
        except OSError as error:
            raise self._lost() from error

    def loss(self) -> float:
        """Wait for the loss of the task given to `begin`; its gradients are then in `gradients`."""
        try:
            answer = self._end.recv()
        except (EOFError, OSError) as error:
            raise self._lost() from error
        if isinstance(answer, str):
            raise LlgenError(f"a replica failed: {answer}", "hardware.replicas=1 trains in one process")
        return float(answer)

    def _lost(self) -> LlgenError:
        self._process.join(1.0)
        return LlgenError(
            f"a replica ended (exit code {self._process.exitcode})", "hardware.replicas=1 trains in one process"
        )

    def close(self) -> None:
        self._end.close()
        self._process.join()
