"""What changes during a run: the learning rate and the length of the sequences."""

from __future__ import annotations

import math


def learning_rate_factor(iteration: int, progress: float, *, warmup: int, final: float) -> float:
    """The learning rate as a share of its peak: a linear rise over `warmup` iterations times a cosine decay to `final`.

    `progress` goes from 0 to 1. The cosine is that of SGDR (Loshchilov and Hutter, 2017, arXiv:1608.03983), without
    restarts.
    """
    cosine = final + (1.0 - final) * 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))
    return min(1.0, (iteration + 1) / (warmup + 1)) * cosine


def sequence_length(context: int, progress: float, growth: float) -> int:
    """Positions of a sequence: a quarter of the context, then half of it, and all of it once `progress` >= `growth`.

    Short sequences cost less for each token, and a new model learns more from them (Li, Zhang and He, 2022,
    arXiv:2108.06084).
    """
    if progress >= growth:
        return context
    return max(2, context // (4 if progress < growth / 2 else 2))
