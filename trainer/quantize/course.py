"""The length and the learning rates of distillation. This file does not import PyTorch."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..schedule import learning_rate_factor

MOST_CALIBRATED = 512
"""Maximum number of texts for GPTQ, with or without distillation after it; more texts do not improve it."""
ITERATIONS = 3000
TEACHER_WEIGHT = 0.5
"""The default share of the divergence from the float32 model in the loss; the rest is cross-entropy with the text."""

_RATE, _SCALE_SHARE = 0.0083, 0.064
"""The learning rate for 1,000 iterations at 64 dimensions; the rate of scales as a share of the rate of weights."""
_LENGTH, _WIDTH = 1000, 64
_WARMUP = 20
_FALL = 0.2
"""The last part of a run, as a share, in which the rate decays exponentially."""
_LAST_RATE = 1e-7
"""The rate at the end; so small that weights in float32 do not change."""


@dataclass(frozen=True)
class Course:
    """The number of iterations, the learning rates and the size of a batch."""

    iterations: int
    rate: float
    """Peak of the learning rate: how far a weight moves in an iteration, in steps of a 4-bit quantiser."""
    scale_rate: float
    """Peak of the learning rate of the logarithms of the scales."""
    tokens: int = 4096
    """Maximum number of tokens of an iteration, unless a single sequence is longer."""
    seed: int = 1

    def factor(self, iteration: int) -> float:
        """The learning rates of an iteration as a share of their peaks: a cosine first, then exponential decay.

        A weight whose best value lies between two integers moves to the border between them and then oscillates across
        it. When most weights oscillate, the model is worse than at the start. A lower constant rate does not help: the
        weights oscillate closer to the border. They settle when the rate decays faster than they approach it. With
        exponential decay a few weights settle at a time, and the others adapt to them. A cosine passes these orders of
        magnitude in its last few dozen iterations, so the noise of these iterations would decide. A decay that starts
        early leaves weights where they started.
        """
        progress, falls_from = iteration / self.iterations, 1.0 - _FALL
        share = learning_rate_factor(iteration, min(progress, falls_from), warmup=_WARMUP, final=0.0)
        fallen = max(0.0, progress - falls_from) / _FALL
        return share * math.pow(min(1.0, _LAST_RATE / (share * self.rate)), fallen)

    @classmethod
    def of(cls, iterations: int, dim: int) -> Course:
        """A course with learning rates that suit the number of iterations and a model of `dim` dimensions.

        Longer runs take shorter steps, so that noise averages out: for eight times the iterations, a quarter of the
        rate. In a wider model more weights contribute to each output. The steps of the quantiser, like the weights,
        shrink with the square root of the width; the rate, in these steps, falls by the square root once more (as in
        muP: Yang et al., 2022, arXiv:2203.03466).
        """
        rate = _RATE * (_LENGTH / iterations) ** (2 / 3) * (_WIDTH / max(dim, _WIDTH)) ** 0.5
        return cls(iterations, rate=rate, scale_rate=_SCALE_SHARE * rate)
