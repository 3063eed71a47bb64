"""Rounds: each round runs every engine once, in rotating order, so that a slow machine slows all engines."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from .engine import Engine, Work, measure

_ROUND_SECONDS = 0.2
"""Minimum time that an engine works in each round."""
_MOST_REPEATS = 1000


@dataclass(frozen=True)
class Result:
    """The speeds of one engine in all rounds."""

    engine: Engine
    speeds: tuple[float, ...]
    """Tokens per second in each round."""
    ratio: float | None
    """Median divided by the yardstick's median for decoding in the same rounds; None without a yardstick."""

    @property
    def median(self) -> float:
        """Tokens per second."""
        return statistics.median(self.speeds)

    @property
    def spread(self) -> float:
        """Difference between the fastest and the slowest round, divided by the median."""
        return (max(self.speeds) - min(self.speeds)) / self.median

    def as_json(self) -> dict[str, Any]:
        """The row of `llgen bench --json`."""
        return {
            "engine": self.engine.name,
            "target": self.engine.target,
            "scheme": self.engine.scheme,
            "kv": self.engine.kv,
            "isa": self.engine.isa,
            "tuning": self.engine.tuning,
            "kind": self.engine.work.kind,
            "positions": self.engine.work.positions,
            "threads": self.engine.threads,
            "median_tokens_per_second": round(self.median, 1),
            "ratio": None if self.ratio is None else round(self.ratio, 3),
            "spread": round(self.spread, 3),
            "rounds": len(self.speeds),
        }


def run_rounds(
    engines: Sequence[Engine],
    rounds: int,
    progress: Callable[[str], None] = lambda what: None,
    clock: Callable[[Engine, int], float] = measure,
) -> list[Result]:
    """Measure all engines in the same rounds. A round before the first finds how often each engine repeats its work.

    `clock` takes an engine and its repeats, and returns tokens per second. Raises LlgenError when an engine fails.
    """
    repeats = []
    for engine in engines:
        progress(f"warming up: {engine.label}")
        repeats.append(repeats_for(engine.work, clock(engine, 1)))
    speeds: list[list[float]] = [[] for _ in engines]
    for done in range(rounds):
        for index in turned(len(engines), done):
            progress(f"round {done + 1} of {rounds}: {engines[index].label}")
            speeds[index].append(clock(engines[index], repeats[index]))
    return rated(engines, speeds)


def rated(engines: Sequence[Engine], speeds: Sequence[Sequence[float]]) -> list[Result]:
    """Results with their ratios: medians over the yardstick's median."""
    base = next(
        (statistics.median(taken) for engine, taken in zip(engines, speeds, strict=True) if engine.name == "yardstick"),
        None,
    )
    return [
        Result(engine, tuple(taken), None if base is None else statistics.median(taken) / base)
        for engine, taken in zip(engines, speeds, strict=True)
    ]


def turned(count: int, by: int) -> list[int]:
    """The integers 0 to count - 1, rotated by `by`."""
    return [(index + by) % count for index in range(count)]


def repeats_for(work: Work, speed: float) -> int:
    """How often to repeat work so that it fills a round, at `speed` tokens per second."""
    return max(1, min(_MOST_REPEATS, math.ceil(_ROUND_SECONDS * speed / work.positions)))
