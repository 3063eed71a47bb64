"""Sampling in Python: the same as the generated `sample`, so that a seed gives the same text in Python and in C.

Everything after the exponentials is integer arithmetic; see the comment in templates/model.c.j2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..contract.numerics import Array, Float, exp

WEIGHT_BITS = 30
"""The likeliest token weighs 2^30 when sampling: the sum over any vocabulary fits 64 bits with room to spare."""

_MASK = (1 << 64) - 1

Weights = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Cut:
    """Keeps tokens heavier than `weight`, and the first `ties` of those that weigh exactly that."""

    weight: int
    ties: int


@dataclass
class Sampler:
    """How to choose; zeros are greedy. `seed` advances with every draw, as in the C struct."""

    temperature: float = 0.0
    top_p: float = 0.0
    top_k: int = 0
    seed: int = 0
    padding: tuple[int, ...] = ()
    """Rows that are no tokens."""

    def sample(self, logits: Array) -> int:
        """The next token for `logits` [vocab_size], which must hold a number at least."""
        padding = list(self.padding)
        best = int(np.nanargmax(np.where(np.isin(np.arange(len(logits)), padding), np.nan, logits)))
        if not self.temperature > 0.0 or self.top_k == 1:
            return best
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            sharpness = Float(1.0) / Float(self.temperature)
            odds = exp((logits - logits[best]) * sharpness)
        odds[padding] = 0.0
        weights = (odds * Float(1 << WEIGHT_BITS)).astype(np.uint64)
        kept = _cut_top_k(weights, self.top_k)
        total = _mass_from(weights, kept, 0)
        if total == 0:
            return best
        if 0.0 < self.top_p < 1.0:
            kept = _cut_top_p(weights, kept, Float(self.top_p))
            total = _mass_from(weights, kept, 0)
        target = self._draw() * total >> 64
        return _walk(weights, kept, target)

    def _draw(self) -> int:
        """xorshift64* (Vigna, 2016)."""
        x = self.seed or 0x9E3779B97F4A7C15
        x ^= x >> 12
        x ^= x << 25 & _MASK
        x ^= x >> 27
        self.seed = x
        return x * 0x2545F4914F6CDD1D & _MASK


def _mass_from(weights: Weights, kept: Cut, weight: int) -> int:
    if weight > kept.weight:
        return int(weights[weights >= weight].sum())
    return int(weights[weights > kept.weight].sum()) + kept.ties * kept.weight


def _cut_top_k(weights: Weights, k: int) -> Cut:
    order = np.sort(weights[weights > 0])[::-1]
    if k <= 0 or len(order) <= k:
        return Cut(0, 0)
    weight = int(order[k - 1])
    return Cut(weight, k - int((weights > weight).sum()))


def _cut_top_p(weights: Weights, kept: Cut, share: Float) -> Cut:
    """The least set of the heaviest tokens that makes up the share of what `kept` keeps."""
    wanted = max(1, _mass_from(weights, kept, 0) * int(share * Float(1 << 32)) >> 32)
    candidates = [int(weight) for weight in np.unique(weights) if weight >= max(kept.weight, 1)]
    weight = max(value for value in candidates if _mass_from(weights, kept, value) >= wanted)
    missing = wanted - _mass_from(weights, kept, weight + 1)
    return Cut(weight, -(-missing // weight))


def _walk(weights: Weights, kept: Cut, target: int) -> int:
    passed, ties = 0, kept.ties
    for token, weight in enumerate(weights.tolist()):
        if weight < kept.weight or (weight == kept.weight and ties == 0):
            continue
        ties -= weight == kept.weight
        passed += weight
        if passed > target:
            return token
    raise AssertionError("the target lies within the mass of what is kept")
