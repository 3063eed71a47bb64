"""Distillation into integers: the quantised model is trained to say what its own float32 self says.

The forward pass is the device's: weights, vectors and the cache are rounded where the C rounds them, and gradients pass
through the rounding (quantisation-aware training; Hinton, Vinyals and Dean, 2015, arXiv:1503.02531, for the loss). The
scales stay those of the start, which GPTQ chose; what is trained is which integer each weight becomes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from llgen.codegen.errors import LlgenError
from llgen.codegen.matrix import LEVELS, IntMatrix
from llgen.codegen.quantize import FoldedModel, QuantModel, assemble

from ..objective import divergence
from .folded import FoldedLlama

_WARMUP = 20


@dataclass(frozen=True)
class Course:
    """How long and how fast."""

    iterations: int = 1500
    rate: float = 0.03
    """Peak of the learning rate, in steps of the quantiser: how far a weight goes in an iteration."""
    batch: int = 16
    """Sequences of an iteration."""
    seed: int = 1


class Latent:
    """A matrix in training: float weights in units of their steps, and the integers they are nearest to."""

    def __init__(self, matrix: IntMatrix) -> None:
        self._matrix = matrix
        self._low, self._high = LEVELS[matrix.bits]
        self._steps = torch.from_numpy(matrix.steps())
        self.weights = torch.from_numpy(matrix.integers.astype(np.float32)).requires_grad_()

    def dequantized(self) -> Tensor:
        """What the integers stand for; the gradient goes to the weights, scaled to their units."""
        near = self.weights.detach().round().clamp(self._low, self._high)
        inside = self.weights.clamp(self._low, self._high)
        return (inside + (near - inside).detach()) * self._steps

    def rounded(self) -> IntMatrix:
        """The integers as they are now, with the scales of the start."""
        integers = self.weights.detach().round().clamp(self._low, self._high).to(torch.int8).numpy()
        return IntMatrix(integers, self._matrix.scales, self._matrix.multipliers)


def distill(
    folded: FoldedModel,
    start: QuantModel,
    batches: Sequence[Tensor],
    course: Course,
    told: Callable[[int, float], None] = lambda iteration, loss: None,
) -> QuantModel:
    """Train `start` on sequences [B, T] towards the float32 model that it was quantised from.

    `told` hears each iteration and its divergence in nats a token. Raises LlgenError when training diverges.
    """
    teacher, exact = FoldedLlama.exact(folded)
    gain = None if start.final_gain is None else torch.from_numpy(start.final_gain.copy())
    student = FoldedLlama(start.config, gain, whole=True, whole_cache=start.kv == "q8", context=start.context)
    latents = {name: Latent(matrix) for name, matrix in start.matrices().items() if isinstance(matrix, IntMatrix)}
    # Adam moves every weight by about its rate, whatever the gradient's size: a share of a step for all matrices.
    optimizer = torch.optim.AdamW(
        [each.weights for each in latents.values()], course.rate, (0.9, 0.98), weight_decay=0.0
    )
    generator = torch.Generator().manual_seed(course.seed)
    for iteration in range(course.iterations):
        tokens = _drawn(batches, course.batch, generator)[:, : start.context]
        with torch.no_grad():
            wanted = teacher(tokens, exact)
        loss = divergence(student(tokens, {name: each.dequantized() for name, each in latents.items()}), wanted, 1.0)
        if not math.isfinite(float(loss.detach())):
            raise LlgenError(f"the divergence became {float(loss.detach())}: training diverged", "a smaller --rate")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        factor = min(1.0, (iteration + 1) / _WARMUP) * 0.5 * (1.0 + math.cos(math.pi * iteration / course.iterations))
        for group in optimizer.param_groups:
            group["lr"] = course.rate * factor
        optimizer.step()
        told(iteration + 1, float(loss.detach()))
    return assemble(folded, start.scheme, start.kv, {name: each.rounded() for name, each in latents.items()})


def _drawn(batches: Sequence[Tensor], count: int, generator: torch.Generator) -> Tensor:
    """Some sequences of one batch, [count, T]."""
    batch = batches[int(torch.randint(len(batches), (1,), generator=generator))]
    return batch[torch.randperm(len(batch), generator=generator)[:count]]
