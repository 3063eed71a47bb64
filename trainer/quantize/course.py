"""How a quantised model is trained: how long, and how fast. Needs no PyTorch."""

from __future__ import annotations

from dataclasses import dataclass

ITERATIONS = 3000
TEACHER_WEIGHT = 0.5
"""The usual share of the float32 model's opinion in the loss, where a text has an opinion, too."""

_RATE, _SCALE_SHARE = 0.0083, 0.064
"""For 1,000 iterations of a model of 64 dimensions; the scales' rate is a share of the weights'."""
_LENGTH, _WIDTH = 1000, 64


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

    @classmethod
    def of(cls, iterations: int, dim: int) -> Course:
        """With rates that suit the length, and a model of so many dimensions.

        A weight whose best place is between two integers is driven to the border, and hops over it for as long as the
        rate lets it; when most weights have come so far, the model is worse than it began, and only what is left of
        the run, as the rate falls, brings it down again. So the way that weights can go in all, the sum of the rates,
        is what to keep small; a longer run goes it in shorter steps, whose noise averages out: eight times the length,
        a quarter of the rate. The wider the model, the more weights move for each output: beside their steps, which
        shrink with the root of the width as weights do, they may move by the root less (as in muP: Yang et al., 2022,
        arXiv:2203.03466).
        """
        rate = _RATE * (_LENGTH / iterations) ** (2 / 3) * (_WIDTH / max(dim, _WIDTH)) ** 0.5
        return cls(iterations, rate=rate, scale_rate=_SCALE_SHARE * rate)
