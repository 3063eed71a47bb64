"""Distillation into integers: the quantised model learns to predict like its float32 original, and to predict a text.

The forward pass is that of the device: weights, vectors and the cache are rounded where the C rounds them, and
gradients pass through the rounding (quantisation-aware training). The loss is that of Hinton, Vinyals and Dean (2015,
arXiv:1503.02531). Training changes the integer of each weight and the scales; it starts from the result of GPTQ.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any

import torch
from torch import Tensor

from llgen.codegen.contract.matrix import IntMatrix
from llgen.codegen.quantise.fold import FoldedModel
from llgen.codegen.quantise.quantize import QuantModel, assemble
from llgen.errors import LlgenError

from ..checkpoint import read_checkpoint, write_checkpoint
from ..device import short_products
from ..fused import FusedOperators
from ..library import library
from ..operators import Operators
from .course import Course
from .folded import FoldedLlama
from .imitation import Head, imitation_loss
from .latent import Latent
from .lessons import Lesson

_MOMENTS = (0.9, 0.98)
_TINY = 1e-12
"""Adam's epsilon: prevents a division by zero when all gradients are zero."""
_SHARES = {4: 1.0, 5: 1.6, 6: 2.6, 8: 7.0}
"""Factor of the learning rate, by bits: with more bits the steps are shorter, and weights should move almost as far."""
_EVALUATIONS = 10
_SECONDS_BETWEEN_CHECKPOINTS = 60.0


class Interrupted(Exception):
    """Quantising was stopped, and its state was saved; the message tells after how many iterations."""


def distill(
    folded: FoldedModel,
    start: QuantModel,
    lessons: Sequence[Lesson],
    course: Course,
    *,
    held_out: Sequence[Lesson] = (),
    keep: Path | None = None,
    stop: Event | None = None,
    told: Callable[[int, float], None] = lambda iteration, loss: None,
) -> QuantModel:
    """Train `start` to predict like the float32 model that it was quantised from, and like the texts of the lessons.

    Returns the model with the lowest loss on `held_out` among the evaluations, the start included; without `held_out`,
    the last model. `told` is called with each iteration and its loss in nats per token. The file `keep`, if given, gets
    the state every minute. If it exists, it must come from the same call; training then continues from it, with the
    same result as without an interruption.
    Raises Interrupted when `stop` is set, and LlgenError when training diverges.
    """
    run = _Run(folded, start, lessons, held_out, course)
    if keep is not None and keep.exists():
        run.load(keep)
    else:
        run.begin()
    kept = monotonic()
    while run.iteration < course.iterations:
        loss = run.step()
        told(run.iteration, loss)
        stops = stop is not None and stop.is_set()
        if keep is not None and (stops or monotonic() - kept > _SECONDS_BETWEEN_CHECKPOINTS):
            run.save(keep)
            kept = monotonic()
        if stops:
            raise Interrupted(f"stopped after {run.iteration:,} of {course.iterations:,} iterations")
    return run.best()


class _Run:
    """Everything that changes in training, and one step of it."""

    def __init__(
        self,
        folded: FoldedModel,
        start: QuantModel,
        lessons: Sequence[Lesson],
        held_out: Sequence[Lesson],
        course: Course,
    ) -> None:
        self._folded, self._start, self._course = folded, start, course
        self._lessons, self._held_out = (
            [replace(lesson, tokens=lesson.tokens[:, : start.context + 1]) for lesson in those]
            for those in (lessons, held_out)
        )
        self._teacher, self._exact = FoldedLlama.exact(folded)
        self._student, _ = FoldedLlama.of(start)
        self._teacher.operators = self._student.operators = _fastest(start.config.head_dim)
        matrices = {name: matrix for name, matrix in start.matrices.items() if isinstance(matrix, IntMatrix)}
        self._latents = {name: Latent(matrix, folded.matrices[name]) for name, matrix in matrices.items()}
        # Adam's rate is how far a weight moves in steps, whatever the size of its gradient: one rate for all matrices.
        learned = list(self._latents.values())
        groups: list[dict[str, Any]] = []
        for bits, share in _SHARES.items():
            weights = [latent.weights for latent in learned if latent.bits == bits]
            groups.append({"params": weights, "peak": course.rate * share})
        groups.append({"params": [latent.growth for latent in learned], "peak": course.scale_rate})
        self._optimizer = torch.optim.Adam([group for group in groups if group["params"]], betas=_MOMENTS, eps=_TINY)
        self._generator = torch.Generator().manual_seed(course.seed)
        self.iteration = 0
        self._best_loss, self._best = math.inf, self._state()

    def begin(self) -> None:
        """Evaluate the start, so that no worse model is returned."""
        self._best_loss = self._evaluate()

    def step(self) -> float:
        """Update weights and scales once; returns the loss before the update, in nats per token."""
        course = self._course
        lesson = self._lessons[int(torch.randint(len(self._lessons), (1,), generator=self._generator))]
        sequences, length = lesson.tokens.shape
        chosen = torch.randperm(sequences, generator=self._generator)[: max(1, course.tokens // length)]
        self._optimizer.zero_grad(set_to_none=True)
        with short_products():
            loss = self._loss(replace(lesson, tokens=lesson.tokens[chosen]))
            loss.backward()  # type: ignore[no-untyped-call]
        nats = float(loss.detach())
        if not math.isfinite(nats):
            raise LlgenError(f"the loss became {nats} after iteration {self.iteration}", "--method gptq")
        factor = course.factor(self.iteration)
        for group in self._optimizer.param_groups:
            group["lr"] = group["peak"] * factor
        self._optimizer.step()
        self.iteration += 1
        if self.iteration == course.iterations or self.iteration % max(1, course.iterations // _EVALUATIONS) == 0:
            found = self._evaluate()
            if found <= self._best_loss:
                self._best_loss, self._best = found, self._state()
        return nats

    def best(self) -> QuantModel:
        """The quantised model of the best evaluation so far."""
        for name, latent in self._latents.items():
            latent.restore(self._best[name])
        rounded = {name: latent.rounded() for name, latent in self._latents.items()}
        return assemble(self._folded, self._start.kv, rounded)

    def save(self, path: Path) -> None:
        """Write everything that is needed to continue."""
        state = {
            "iteration": self.iteration,
            "latents": self._state(),
            "optimizer": self._optimizer.state_dict(),
            "generator": self._generator.get_state(),
            "best": self._best,
            "best_loss": self._best_loss,
        }
        write_checkpoint(state, path)

    def load(self, path: Path) -> None:
        """Continue from `path`; raises LlgenError when it cannot be read."""
        try:
            state = read_checkpoint(path)
        except LlgenError as error:
            raise LlgenError(error.message, f"delete '{path.parent}' to start again") from error
        for name, latent in self._latents.items():
            latent.restore(state["latents"][name])
        self._optimizer.load_state_dict(state["optimizer"])
        self._generator.set_state(state["generator"])
        self.iteration, self._best, self._best_loss = state["iteration"], state["best"], state["best_loss"]

    def _loss(self, lesson: Lesson) -> Tensor:
        inputs, targets = lesson.tokens[:, :-1], lesson.tokens[:, 1:]
        matrices = {name: latent.dequantized() for name, latent in self._latents.items()}
        ours = Head.of(self._student, inputs, matrices)
        with torch.no_grad():
            theirs = Head.of(self._teacher, inputs, self._exact)
        return imitation_loss(ours, theirs, targets, lesson.teacher_weight)

    @torch.no_grad()
    def _evaluate(self) -> float:
        """Loss on the held-out lessons in nats per token; 0 without any, so that the last model is the best."""
        sums = [float(self._loss(lesson)) * lesson.tokens.numel() for lesson in self._held_out]
        return sum(sums) / max(1, sum(lesson.tokens.numel() for lesson in self._held_out))

    def _state(self) -> dict[str, dict[str, Tensor]]:
        return {name: latent.state() for name, latent in self._latents.items()}


def _fastest(head_dim: int) -> Operators:
    """llgen's own operators if they can be compiled, else PyTorch's."""
    try:
        library(head_dim)
        library()
    except (LlgenError, OSError):
        return Operators()
    return FusedOperators()
