"""Distillation into integers: the quantised model learns to say what its own float32 self says, and what a text says.

The forward pass is the device's: weights, vectors and the cache are rounded where the C rounds them, and gradients pass
through the rounding (quantisation-aware training; Hinton, Vinyals and Dean, 2015, arXiv:1503.02531, for the loss). What
is trained is which integer each weight becomes, and the scales; the start is what GPTQ chose.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any

import torch
from torch import Tensor

from llgen.codegen.errors import LlgenError
from llgen.codegen.matrix import IntMatrix
from llgen.codegen.quantize import FoldedModel, QuantModel, assemble

from ..checkpoint import read_checkpoint, write_checkpoint
from ..fused import FusedOperators
from ..library import library
from ..objective import Objective
from ..operators import Operators
from ..schedule import learning_rate_factor
from .folded import FoldedLlama
from .latent import Latent

_WARMUP = 20
_MOMENTS = (0.9, 0.98)
_OF_TOKENS = {"embedding", "classifier"}
_SHARES = {4: 1.0, 8: 7.0}
"""Of the rate, by bits: steps of 8 bits are shorter, and weights are to go as far in both."""
_EVALUATIONS = 10
_FEW, _WALK, _SCALE_WALK = 250, 0.47, 0.03
_MEETINGS = 4
_SECONDS_BETWEEN_CHECKPOINTS = 60.0


@dataclass(frozen=True)
class Course:
    """How long and how fast."""

    iterations: int = 1500
    rate: float = 0.03
    """Peak of the learning rate, in steps of a 4-bit quantiser: how far a weight goes in an iteration."""
    scale_rate: float = 0.002
    """The same of the logarithms of the scales."""
    tokens: int = 4096
    """Of an iteration, at most, in as many sequences as that makes; one at least."""
    teacher_weight: float = 0.5
    """The share of the loss that is the divergence from the float32 model; the rest is cross-entropy with the text."""
    seed: int = 1

    @classmethod
    def of(cls, iterations: int, teacher_weight: float = 0.5) -> Course:
        """With rates that suit the length.

        What the noise of the gradients does to a weight adds up like a random walk, with the root of the number of
        updates; beyond half a step in all, more is lost of the float32 weights than is learned anew.
        """
        root = math.sqrt(max(iterations, _FEW))
        return cls(iterations, rate=_WALK / root, scale_rate=_SCALE_WALK / root, teacher_weight=teacher_weight)


class Interrupted(Exception):
    """Distillation was asked to stop, and has kept its state."""

    def __init__(self, iteration: int) -> None:
        super().__init__(f"stopped after iteration {iteration}")
        self.iteration = iteration


def distill(
    folded: FoldedModel,
    start: QuantModel,
    batches: Sequence[Tensor],
    course: Course,
    *,
    held_out: Sequence[Tensor] = (),
    keep: Path | None = None,
    stop: Event | None = None,
    told: Callable[[int, float], None] = lambda iteration, loss: None,
) -> QuantModel:
    """Train `start` on sequences [B, T] towards the float32 model that it was quantised from.

    Of what it passes through, the best on `held_out` is returned, `start` included; without those, the last. `told`
    hears each iteration and its loss in nats a token. The file `keep`, when given, holds the state every minute;
    one that is there already, which must be of the same call, is gone on from, to the same result as without a break.
    Raises Interrupted, when `stop` is set, and LlgenError when training diverges.
    """
    run = _Run(folded, start, batches, held_out, course)
    if keep is not None and keep.exists():
        run.load(keep)
    kept = monotonic()
    while run.iteration < course.iterations:
        loss = run.step()
        told(run.iteration, loss)
        stops = stop is not None and stop.is_set()
        if keep is not None and (stops or monotonic() - kept > _SECONDS_BETWEEN_CHECKPOINTS):
            run.save(keep)
            kept = monotonic()
        if stops:
            raise Interrupted(run.iteration)
    return run.best()


class _Run:
    """All that changes in training, and one step of it."""

    def __init__(
        self,
        folded: FoldedModel,
        start: QuantModel,
        batches: Sequence[Tensor],
        held_out: Sequence[Tensor],
        course: Course,
    ) -> None:
        self._folded, self._start, self._course = folded, start, course
        self._batches = [batch[:, : start.context] for batch in batches]
        self._held_out = [batch[:, : start.context] for batch in held_out]
        teacher, exact = FoldedLlama.exact(folded)
        gain = None if start.final_gain is None else torch.from_numpy(start.final_gain.copy())
        self._student = FoldedLlama(start.config, gain, whole=True, whole_cache=start.kv == "q8", context=start.context)
        teacher.operators = self._student.operators = _fastest(start.config.head_dim)
        self._objective = Objective(teacher.operators, lambda tokens: teacher(tokens, exact), course.teacher_weight)
        matrices = {name: matrix for name, matrix in start.matrices().items() if isinstance(matrix, IntMatrix)}
        self._latents = {name: Latent(matrix) for name, matrix in matrices.items()}
        self._settle_rare_tokens()
        # Adam moves every weight by about its rate, whatever the gradient's size: a share of a step for all matrices.
        learned = [latent for latent in self._latents.values() if latent.weights.requires_grad]
        groups: list[dict[str, Any]] = []
        for bits, share in _SHARES.items():
            weights = [latent.weights for latent in learned if latent.bits == bits]
            groups.append({"params": weights, "peak": course.rate * share})
        groups.append({"params": [latent.growth for latent in learned], "peak": course.scale_rate})
        self._optimizer = torch.optim.Adam([group for group in groups if group["params"]], betas=_MOMENTS)
        self._generator = torch.Generator().manual_seed(course.seed)
        self.iteration = 0
        self._best_loss, self._best = self._evaluate(), self._state()

    def _settle_rare_tokens(self) -> None:
        """Leave the embedding and the classifier as they are where a token is met too seldom.

        What reaches the rows of rare tokens is noise for the most part, and Adam makes of it steps as long as any.
        """
        if self._course.tokens < _MEETINGS * self._folded.spec.config.vocab_size:
            for name in _OF_TOKENS & self._latents.keys():
                self._latents[name].weights.requires_grad_(False)
                self._latents[name].growth.requires_grad_(False)

    def step(self) -> float:
        """One update of weights and scales; returns the loss before it, in nats a token."""
        course = self._course
        batch = self._batches[int(torch.randint(len(self._batches), (1,), generator=self._generator))]
        count = max(1, course.tokens // batch.shape[1])
        loss = self._loss(batch[torch.randperm(len(batch), generator=self._generator)[:count]])
        nats = float(loss.detach())
        if not math.isfinite(nats):
            raise LlgenError(f"the loss became {nats} after iteration {self.iteration}", "--method gptq")
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        progress = self.iteration / course.iterations
        factor = learning_rate_factor(self.iteration, progress, warmup=_WARMUP, final=0.0)
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
        return assemble(self._folded, self._start.scheme, self._start.kv, rounded)

    def save(self, path: Path) -> None:
        """Write all that going on needs."""
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
        """Go on from `path`; raises LlgenError when it cannot be read."""
        state = read_checkpoint(path)
        for name, latent in self._latents.items():
            latent.restore(state["latents"][name])
        self._optimizer.load_state_dict(state["optimizer"])
        self._generator.set_state(state["generator"])
        self.iteration, self._best, self._best_loss = state["iteration"], state["best"], state["best_loss"]

    def _loss(self, tokens: Tensor) -> Tensor:
        matrices = {name: latent.dequantized() for name, latent in self._latents.items()}
        return self._objective(lambda inputs: self._student(inputs, matrices), tokens[:, :-1], tokens[:, 1:])

    @torch.no_grad()
    def _evaluate(self) -> float:
        """Nats a token on the held-out batches; 0 without any, so that the last model is the best."""
        sums = [float(self._loss(batch)) * batch.numel() for batch in self._held_out]
        return sum(sums) / max(1, sum(batch.numel() for batch in self._held_out))

    def _state(self) -> dict[str, dict[str, Tensor]]:
        return {name: latent.state() for name, latent in self._latents.items()}


def _fastest(head_dim: int) -> Operators:
    """Operators of our own where they can be compiled."""
    try:
        library(head_dim)
        library()
    except (LlgenError, OSError):
        return Operators()
    return FusedOperators()
