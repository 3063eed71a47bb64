"""How a quantised model is trained: how long, and how fast. Needs no PyTorch."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..schedule import learning_rate_factor

MOST_CALIBRATED = 512
"""Texts that GPTQ goes by, before training and without, which gains nothing from more."""
ITERATIONS = 3000
TEACHER_WEIGHT = 0.5
"""The usual share of the float32 model's opinion in the loss, where a text has an opinion, too."""

_RATE, _SCALE_SHARE = 0.0083, 0.064
"""For 1,000 iterations of a model of 64 dimensions; the scales' rate is a share of the weights'."""
_LENGTH, _WIDTH = 1000, 64
_WARMUP = 20
_FALL = 0.2
"""The last share of a run, in which the rate falls evenly."""
_LAST_RATE = 1e-7
"""Where weights, in float32, stand still."""


@dataclass(frozen=True)
class Course:
    """How long and how fast."""

    iterations: int
    rate: float
    """Peak of the learning rate, in steps of a 4-bit quantiser: how far a weight goes in an iteration."""
    scale_rate: float
    """The same of the logarithms of the scales."""
    tokens: int = 4096
    """Of an iteration, at most, in as many sequences as that makes; one at least."""
    seed: int = 1

    def factor(self, iteration: int) -> float:
        """The share of both peaks that an iteration's rates have: a cosine's at first, then an even fall to nothing.

        A weight whose best place is between two integers is driven to the border, and hops over it for as long as the
        rate lets it; where most weights have come so far, the model is worse than it began, and a lower steady rate
        only has them gather nearer to the border. They come to rest while the rate falls faster than they gather: by
        the same factor in each iteration, so that a few at a time can hop no more, and the others answer. A cosine
        goes through these orders of magnitude in its last dozens of iterations, whose noise then decides; a fall that
        begins early leaves weights where they began.
        """
        progress, falls_from = iteration / self.iterations, 1.0 - _FALL
        share = learning_rate_factor(iteration, min(progress, falls_from), warmup=_WARMUP, final=0.0)
        fallen = max(0.0, progress - falls_from) / _FALL
        return share * math.pow(min(1.0, _LAST_RATE / (share * self.rate)), fallen)

    @classmethod
    def of(cls, iterations: int, dim: int) -> Course:
        """With rates that suit the length, and a model of so many dimensions.

        Longer runs go in shorter steps, whose noise averages out: eight times the length, a quarter of the rate. The
        wider the model, the more weights move for each output: beside their steps, which shrink with the root of the
        width as weights do, they may move by the root less (as in muP: Yang et al., 2022, arXiv:2203.03466).
        """
        rate = _RATE * (_LENGTH / iterations) ** (2 / 3) * (_WIDTH / max(dim, _WIDTH)) ** 0.5
        return cls(iterations, rate=rate, scale_rate=_SCALE_SHARE * rate)
