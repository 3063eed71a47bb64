"""Where a token's instructions go, by function: of programs that keep their functions' names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ..build import Build
from ..counting import profile, unprofiled
from ..pipeline import generate
from ..quantize import QuantModel
from ..toolchain import Artifact, compile_objects, link
from ..tuning import Values
from ..write import write
from .lineup import Asked, Program
from .subject import Subject


@dataclass(frozen=True)
class Profile:
    """One program, decoding."""

    program: Program
    positions: int
    functions: Mapping[str, float]
    """Instructions of a token, the most first. What the compiler has merged into a caller counts for that."""

    def as_json(self) -> dict[str, Any]:
        """The row of `llgen bench --json`."""
        return {
            "target": self.program.built.artifact.target.name,
            "scheme": self.program.scheme,
            "kv": self.program.kv,
            "tuning": self.program.tuning,
            "positions": self.positions,
            "functions": dict(self.functions),
        }


def profile_programs(
    subject: Subject, asked: Asked, programs: Sequence[Program], progress: Callable[[str], None]
) -> tuple[list[Profile], list[str]]:
    """Profile what can be profiled; also a line for each target where nothing can be. Raises LlgenError as `build`."""
    profiles: list[Profile] = []
    notes: list[str] = []
    (decode, *_) = asked.works(subject, timed=False)
    for program in programs:
        target = program.built.artifact.target
        problem = unprofiled(target)
        if problem is not None:
            notes.append(problem)
            continue
        progress(f"profiling: {program.scheme} for {program.title}")
        with TemporaryDirectory(prefix="llgen-profile-") as temporary:
            named = _with_names(subject.model(program.scheme), program.built, Path(temporary))
            profiles.append(Profile(program, decode.positions, profile(named, decode.positions)))
    return profiles, list(dict.fromkeys(notes))


def _with_names(model: QuantModel, built: Build, folder: Path) -> Artifact:
    """The same program, with names. One without an operating system has them already."""
    target = built.artifact.target
    if target.firmware is not None:
        return built.artifact
    sizes = built.facts["tuning"]
    generation = generate(model, target, prefix="model", tuning=None if sizes is None else Values(**sizes))
    write(generation.files, folder / "source", {})
    objects = compile_objects(folder / "source", generation.sources, target, folder)
    return link(objects, target, folder / "source" / generation.context.artifact, names=True)
