"""Replicas of a narrow model on the cores of one machine, each a process with its part of every batch.

PyTorch divides an operator among cores, and a narrow model's operators are too short for that. So the batch is divided
instead. Threads would do it, but for Python's lock, which every operator takes and gives back: two threads of a model
of 64 dimensions are hardly faster than one.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.multiprocessing as mp
from torch import Tensor

from llgen.codegen.errors import LlgenError

from .device import operator_threads
from .gradients import Alone
from .model import Llama
from .objective import Objective

Numbers = Sequence[Tensor]
"""A tensor for each parameter that is trained, in memory that all processes see."""


@dataclass(frozen=True)
class _Task:
    """A part of a batch [B, T], and its share of the whole batch's gradient."""

    inputs: Any
    targets: Any
    share: float


@dataclass(frozen=True)
class _Work:
    """What another process does."""

    make: Callable[[], Llama]
    weights: Numbers
    objective: Objective
    dtype: torch.dtype

    def go_on(self, gradients: Numbers, end: Any) -> None:
        """Compute gradients of tasks until the other end is closed."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)  # both come to all processes; the first one decides
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
                except Exception as error:  # whatever it is, the first process tells it
                    end.send(str(error).partition("\n")[0])


class Replicas:
    """This process's model, and others that see its weights and bring gradients of their own.

    The gradients are added in a fixed order, so that the losses repeat.
    """

    def __init__(
        self, model: Llama, make: Callable[[], Llama], objective: Objective, count: int, dtype: torch.dtype
    ) -> None:
        """`make` makes another model of the same parameters; it travels to another process, as `objective` does."""
        self._own = Alone(model, objective, torch.device("cpu"), dtype)
        model.share_memory()
        self._trained = trained(model)
        self._others = [_Other(_Work(make, self._trained, objective, dtype)) for _ in range(count - 1)]

    def add(self, inputs: Tensor, targets: Tensor, share: float, *, last: bool = True) -> float:
        """As `Gradients.add`; raises LlgenError when another process has failed."""
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
    """Another process, as this one sees it."""

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
        """Wait for the loss of what was begun; its gradients then stand in `gradients`."""
        try:
            answer = self._end.recv()
        except (EOFError, OSError) as error:
            raise self._lost() from error
        if isinstance(answer, str):
            raise LlgenError(f"a replica failed: {answer}", "hardware.replicas=1 does without")
        return float(answer)

    def _lost(self) -> LlgenError:
        self._process.join(1.0)
        return LlgenError(f"a replica ended (exit code {self._process.exitcode})", "hardware.replicas=1 does without")

    def close(self) -> None:
        self._end.close()
        self._process.join()
