"""Choosing: one size after the other is moved to its best neighbour, until none is better."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ..bench.engine import Kind
from ..tuning import Values

LEAST_GAIN = 0.02
"""By time, a gain in the median that is smaller is noise."""
_FASTER_ROUNDS = 0.75
"""And so is one of fewer rounds."""
LEAST_COUNT = 0.001
"""By instructions, of which a program's start and end take some more or fewer."""


@dataclass(frozen=True)
class Gain:
    """A candidate against the values that stand, in the same rounds."""

    ratios: Mapping[Kind, float]
    """Speed over that of what stands, of each kind of work; of the medians of the rounds."""
    total: float
    """Their geometric mean."""
    better: bool
    """By more than noise."""


def gain_of_times(standing: Mapping[Kind, Sequence[float]], candidate: Mapping[Kind, Sequence[float]]) -> Gain:
    """Judge speeds by kind and round, both taken in the same rounds.

    A candidate is better when it is faster by LEAST_GAIN in the median of the rounds, and faster at all in three of
    four rounds.
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
    """Judge instructions a token by kind: any gain counts that is more than what repeats differ by."""
    ratios: dict[Kind, float] = {kind: standing[kind] / candidate[kind] for kind in standing}
    total = _mean(list(ratios.values()))
    return Gain(ratios, total, total > 1.0 + LEAST_COUNT)


def _mean(ratios: Sequence[float]) -> float:
    return math.exp(statistics.fmean(math.log(ratio) for ratio in ratios))


Judge = Callable[[Values, Sequence[Values]], list[Gain | None]]
"""Measures candidates against what stands; None for one that does not fit the target."""


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
    """Coordinate descent from `start`: the values that stand at last, and whether all was tried that was to be.

    No values are measured twice. `told` hears of each candidate.
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
