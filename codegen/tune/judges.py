"""Measure candidates: by time, in turns within the same rounds; or by instructions, for which one count is enough."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from llgen.errors import ExitCode, LlgenError

from ..bench.engine import Kind, Work
from ..bench.generated import generated_engine
from ..bench.rounds import run_rounds
from ..compile.toolchain import Artifact
from ..plan.tuning import Values
from ..quantise.quantize import QuantModel
from ..run.counting import instructions_per_token
from .journal import Journal
from .search import Gain, gain_of_counts, gain_of_times
from .trials import Trials

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Timer:
    """Judge by time: every round runs the best values so far and each candidate once."""

    model: QuantModel
    trials: Trials
    journal: Journal
    works: tuple[Work, ...]
    rounds: int
    threads: int
    progress: Progress
    label: str = "time"
    """Part of the key in the journal: under another label, the same candidates are measured again."""

    def __call__(self, standing: Values, candidates: Sequence[Values]) -> list[Gain | None]:
        """As `Judge`."""
        key = json.dumps([self.label, standing.given(), [values.given() for values in candidates]])
        speeds = self.journal.recall(key)
        if speeds is None:
            speeds = self._measure([standing, *candidates])
            self.journal.keep(key, speeds)
        first, *others = speeds
        return [None if taken is None else gain_of_times(first, taken) for taken in others]

    def _measure(self, contenders: Sequence[Values]) -> list[dict[Kind, list[float]] | None]:
        programs = [program_that_fits(self.trials, values, self.progress) for values in contenders]
        places = [(at, work) for work in self.works for at, program in enumerate(programs) if program is not None]
        engines = [
            generated_engine(_there(programs[at]), self.model.scheme, self.model.kv, work, self.threads)
            for at, work in places
        ]
        speeds: list[dict[Kind, list[float]] | None] = [None if program is None else {} for program in programs]
        for (at, work), result in zip(places, run_rounds(engines, self.rounds, self.progress), strict=True):
            mine = speeds[at]
            assert mine is not None
            mine[work.kind] = list(result.speeds)
        for values in contenders[1:]:
            self.trials.discard(values)
        return speeds


def _there(program: Artifact | None) -> Artifact:
    assert program is not None
    return program


@dataclass(frozen=True)
class Counter:
    """Judge by instructions per token."""

    trials: Trials
    journal: Journal
    works: tuple[Work, ...]
    progress: Progress

    def __call__(self, standing: Values, candidates: Sequence[Values]) -> list[Gain | None]:
        """As `Judge`."""
        first = self.count(standing)
        assert first is not None
        counts = [self.count(values) for values in candidates]
        return [None if count is None else gain_of_counts(first, count) for count in counts]

    def count(self, values: Values) -> dict[Kind, float] | None:
        """Instructions per token of each kind of work; None when the program does not fit the target."""
        key = json.dumps(["instructions", values.given()])
        if not self.journal.knows(key):
            self.journal.keep(key, self._count(values))
        found: dict[Kind, float] | None = self.journal.recall(key)
        return found

    def _count(self, values: Values) -> dict[Kind, float] | None:
        program = program_that_fits(self.trials, values, self.progress)
        if program is None:
            return None
        counts: dict[Kind, float] = {}
        for work in self.works:
            self.progress(f"counting instructions: {described(values)}, {work.kind}")
            count = instructions_per_token(program, work.positions, work.kind)
            assert count is not None
            counts[work.kind] = count
        self.trials.discard(values)
        return counts


def program_that_fits(trials: Trials, values: Values, progress: Progress) -> Artifact | None:
    """The program with these sizes; None when it does not fit the target."""
    progress(f"compiling: {described(values)}")
    try:
        return trials.program(values)
    except LlgenError as error:
        if error.exit_code == ExitCode.DOES_NOT_FIT:
            return None
        raise


def described(values: Values) -> str:
    """Sizes in a line for a person."""
    return ", ".join(f"{name} {in_words(value)}" for name, value in values.given().items())


def in_words(value: object) -> str:
    """A size for a person: tiles as 6x2 2x4 1x4."""
    if isinstance(value, int):
        return str(value)
    assert isinstance(value, list | tuple)
    return " ".join(f"{positions}x{vectors}" for positions, vectors in value)
