"""The search: one size after the other moves to its best neighbour, until no neighbour is better."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ..bench.engine import Kind
from ..plan.tuning import Values

LEAST_GAIN = 0.02
"""By time: the minimum gain of the median; a smaller gain is noise."""
_FASTER_ROUNDS = 0.75
"""By time: the minimum share of rounds in which a candidate must be faster."""
LEAST_COUNT = 0.001
"""By instructions: the minimum gain; the start and the end of a program vary by less."""


@dataclass(frozen=True)
class Gain:
    """A candidate compared with the best values so far, in the same rounds."""

    ratios: Mapping[Kind, float]
    """Kind of work -> speed divided by the speed of the best values so far; by time, the median over the rounds."""
    total: float
    """Geometric mean over the kinds of work; by time, the median over the rounds."""
    better: bool
    """Whether the gain is larger than noise."""


def gain_of_times(standing: Mapping[Kind, Sequence[float]], candidate: Mapping[Kind, Sequence[float]]) -> Gain:
    """Compare speeds by kind and round; both programs ran in the same rounds.

    A candidate is better when its median gain is at least LEAST_GAIN, and when it is faster in at least _FASTER_ROUNDS
    of the rounds.
    """
    rounds = [
        _mean([candidate[kind][at] / standing[kind][at] for kind in standing])
        for at in range(len(next(iter(standing.values()))))
    ]
    ratios: dict[Kind, float] = {
        kind: statistics.median(new / old for new, old in zip(candidate[kind], standing[kind], strict=True))
        for kind in standing
    }
    total = statistics.median(rounds)
    often = sum(ratio > 1.0 for ratio in rounds) >= math.ceil(_FASTER_ROUNDS * len(rounds))
    return Gain(ratios, total, total >= 1.0 + LEAST_GAIN and often)


def gain_of_counts(standing: Mapping[Kind, float], candidate: Mapping[Kind, float]) -> Gain:
    """Compare instructions per token by kind: a gain counts when it is larger than the variation between runs."""
    ratios: dict[Kind, float] = {kind: standing[kind] / candidate[kind] for kind in standing}
    total = _mean(list(ratios.values()))
    return Gain(ratios, total, total > 1.0 + LEAST_COUNT)


def _mean(ratios: Sequence[float]) -> float:
    return math.exp(statistics.fmean(math.log(ratio) for ratio in ratios))


Judge = Callable[[Values, Sequence[Values]], list[Gain | None]]
"""Measures candidates against the best values so far; None for a candidate that does not fit the target."""


@dataclass(frozen=True)
class Trial:
    """A candidate that was measured."""

    knob: str
    values: Values
    gain: Gain | None
    taken: bool


def search(
    start: Values,
    knobs: Sequence[str],
    neighbours: Callable[[Values, str], list[Values]],
    judge: Judge,
    *,
    told: Callable[[Trial], None] = lambda trial: None,
    in_time: Callable[[], bool] = lambda: True,
) -> tuple[Values, bool]:
    """Coordinate descent from `start`; returns the best values, and whether the search came to its end.

    No values are measured twice. `told` is called with each trial. The search stops early when `in_time` returns False.
    """
    standing, known = start, {start}
    turning = True
    while turning:
        turning = False
        for knob in knobs:
            while candidates := [values for values in neighbours(standing, knob) if values not in known]:
                if not in_time():
                    return standing, False
                known |= set(candidates)
                gains = judge(standing, candidates)
                best = max(
                    (at for at, gain in enumerate(gains) if gain is not None and gain.better),
                    key=lambda at: gains[at].total,  # type: ignore[union-attr]
                    default=None,
                )
                for at, (values, gain) in enumerate(zip(candidates, gains, strict=True)):
                    told(Trial(knob, values, gain, at == best))
                if best is None:
                    break
                standing, turning = candidates[best], True
    return standing, True
