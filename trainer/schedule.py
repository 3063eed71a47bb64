"""What changes in the course of a run: the learning rate and the length of the sequences."""

from __future__ import annotations

import math


def learning_rate_factor(iteration: int, progress: float, *, warmup: int, final: float) -> float:
    """The share of the peak: a linear rise over `warmup` iterations, under a cosine that ends at `final`.

    `progress` runs from 0 to 1. The cosine is that of SGDR (Loshchilov and Hutter, 2017, arXiv:1608.03983), without
    restarts.
    """
    cosine = final + (1.0 - final) * 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))
    return min(1.0, (iteration + 1) / (warmup + 1)) * cosine


def sequence_length(context: int, progress: float, growth: float) -> int:
    """A quarter of the context at first, then half of it, then, from the share `growth` of the run on, all.

    Short sequences cost less a token and, in the beginning, teach more (Li, Zhang and He, 2022, arXiv:2108.06084).
    """
    if progress >= growth:
        return context
    return max(2, context // (4 if progress < growth / 2 else 2))
