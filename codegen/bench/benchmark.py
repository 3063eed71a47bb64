"""The whole benchmark: build the programs, count instructions, measure rounds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from llgen.targets.schema import keeps_time

from .counts import Count, count_programs
from .host import busy, machine
from .lineup import Asked, build_programs, lineup
from .profiles import Profile, profile_programs
from .rounds import Result, run_rounds
from .subject import Subject


@dataclass(frozen=True)
class Report:
    """The results of a benchmark."""

    subject: Subject
    asked: Asked
    machine: str
    """The machine on which time was measured; the target's name when time was not measured."""
    results: tuple[Result, ...]
    counts: tuple[Count, ...]
    notes: tuple[str, ...]
    """What was left out, and why."""
    yardstick: str | None
    """How the yardstick was compiled, and which vectors it uses."""
    all_fit: bool
    """Whether the model fits every target that was asked for."""
    profiles: tuple[Profile, ...]

    def as_json(self) -> dict[str, Any]:
        """The answer of `llgen bench --json`."""
        return {
            "machine": self.machine,
            "model": self.subject.name,
            "weights": self.subject.products,
            "target": self.asked.targets[0].name,
            "yardstick": self.yardstick,
            "results": [result.as_json() for result in self.results],
            # of the first target and scheme; "instructions" has all of them
            "instructions_per_token": self.counts[0].per_token if self.counts else None,
            "instructions": [count.as_json() for count in self.counts],
            "profiles": [profile.as_json() for profile in self.profiles],
            "notes": list(self.notes),
        }


def benchmark(
    subject: Subject, asked: Asked, *, rounds: int, counts: bool | None, progress: Callable[[str], None]
) -> Report:
    """Run a benchmark; `counts` is `wanted` of `count_programs`. Raises LlgenError when building or running fails.

    Time in an emulator says nothing about the real machine: for emulated targets only instructions are counted.
    """
    programs, misfits = build_programs(subject, asked, progress)
    if not programs:
        raise misfits[0]
    counted, notes = count_programs(subject, asked, programs, counts, progress)
    profiles: list[Profile] = []
    if asked.profile:
        profiles, more = profile_programs(subject, asked, programs, progress)
        notes += more
    notes = [*(f"left out: {misfit.message.splitlines()[0]}" for misfit in misfits), *notes]
    timed = [program for program in programs if keeps_time(program.built.artifact.target)]
    results: list[Result] = []
    where, yardstick = asked.targets[0].name, None
    if timed:
        disturbance = busy()
        with lineup(subject, asked, timed, progress) as engines:
            results = run_rounds(engines.engines, rounds, progress)
        where, yardstick = machine(), engines.yardstick
        notes = [*engines.notes, *disturbance, *notes]
    return Report(
        subject=subject,
        asked=asked,
        machine=where,
        results=tuple(results),
        counts=tuple(counted),
        notes=tuple(notes),
        yardstick=yardstick,
        all_fit=not misfits,
        profiles=tuple(profiles),
    )
