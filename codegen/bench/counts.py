"""Instructions per token of each program: the measure for emulated targets, and a measure without noise elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from llgen.targets.schema import keeps_time

from ..run.counting import instructions_per_token, uncountable
from .engine import Work
from .lineup import Asked, Program
from .subject import Subject

_QUICK = 100_000_000
"""Maximum number of products in a run whose instructions are counted by default although its time is measured.

Up to this number, counting takes seconds.
"""


@dataclass(frozen=True)
class Count:
    """Instructions of one program for one kind of work."""

    program: Program
    work: Work
    per_token: float
    per_weight: float
    """`per_token` divided by the number of weights in matrices; a token multiplies and adds each weight once."""

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
    """Count instructions where possible; also return a line for each target where it is not possible.

    `wanted` None: always count in emulators, and elsewhere only short runs. Raises LlgenError when a program fails.
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
