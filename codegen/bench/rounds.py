"""Rounds: each runs every engine once, in an order that turns, so that whatever slows the machine down slows all."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from .engine import Engine, Work, measure

_ROUND_SECONDS = 0.2
"""What an engine works for at least in each round."""
_MOST_REPEATS = 1000


@dataclass(frozen=True)
class Result:
    """What one engine did in all rounds."""

    engine: Engine
    speeds: tuple[float, ...]
    """Tokens a second of each round."""
    ratio: float | None
    """Of its median to that of the yardstick's decoding in the same rounds; None where that was not measured."""

    @property
    def median(self) -> float:
        """Tokens a second."""
        return statistics.median(self.speeds)

    @property
    def spread(self) -> float:
        """Between the slowest and the fastest round, as a part of the median."""
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
    """Measure engines against one another; a round before the first finds out how often each must repeat its work.

    `clock` takes an engine and its repeats, and returns tokens a second. Raises LlgenError when an engine fails.
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
    """0 to count - 1, beginning with another one each round."""
    return [(index + by) % count for index in range(count)]


def repeats_for(work: Work, speed: float) -> int:
    """How often work must be done to fill a round, at so many tokens a second."""
    return max(1, min(_MOST_REPEATS, math.ceil(_ROUND_SECONDS * speed / work.positions)))
