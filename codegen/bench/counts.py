"""Instructions a token of each program: the figure for targets that are emulated, and one without noise elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from llgen.targets.schema import keeps_time

from ..counting import instructions_per_token, uncountable
from .engine import Work
from .lineup import Asked, Program
from .subject import Subject

_QUICK = 100_000_000
"""Products of a whole run; up to that many, counting takes seconds, and is done where time is measured too."""


@dataclass(frozen=True)
class Count:
    """One program at one work."""

    program: Program
    work: Work
    per_token: float
    per_weight: float
    """Of the matrices, each of which is multiplied and added once a token."""

    def as_json(self) -> dict[str, Any]:
        """The row of `llgen bench --json`."""
        return {
            "target": self.program.built.artifact.target.name,
            "scheme": self.program.scheme,
            "kv": self.program.kv,
            "tuning": self.program.tuning,
            "kind": self.work.kind,
            "positions": self.work.positions,
            "instructions_per_token": self.per_token,
            "instructions_per_weight": round(self.per_weight, 3),
        }


def count_programs(
    subject: Subject, asked: Asked, programs: Sequence[Program], wanted: bool | None, progress: Callable[[str], None]
) -> tuple[list[Count], list[str]]:
    """Count what can be counted; also a line for each target where it cannot.

    `wanted` None counts in emulators, and elsewhere what is quick. Raises LlgenError when a program fails.
    """
    counts: list[Count] = []
    notes: list[str] = []
    for program in programs:
        artifact = program.built.artifact
        timed = keeps_time(artifact.target)
        works = asked.works(subject, timed=timed)
        if wanted is None:
            works = [work for work in works if not timed or subject.products * work.positions <= _QUICK]
        problem = uncountable(artifact)
        if wanted is False or not works:
            continue
        if problem is not None:
            notes.append(f"instructions not counted: {problem}")
            continue
        for work in works:
            progress(f"counting instructions: {program.scheme} for {artifact.target.name}, {work.kind}")
            count = instructions_per_token(artifact, work.positions, work.kind)
            if count is not None:
                counts.append(Count(program, work, count, count / subject.products))
    return counts, list(dict.fromkeys(notes))
