"""Instructions per token by function, for programs that keep their functions' names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ..build.folder import Build
from ..build.manifest import write
from ..compile.toolchain import Artifact, compile_objects, link
from ..plan.tuning import Values
from ..quantise.quantize import QuantModel
from ..render.pipeline import generate
from ..run.counting import profile, unprofiled
from .lineup import Asked, Program
from .subject import Subject


@dataclass(frozen=True)
class Profile:
    """Instructions of one program while it decodes, by function."""

    program: Program
    positions: int
    functions: Mapping[str, float]
    """Function -> instructions per token, the largest first. An inlined function counts as part of its caller."""

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
    """Profile programs where possible; also return a line for each target where it is not possible.

    Raises LlgenError as `build` does.
    """
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
    """The same program, with its functions' names. A program without an operating system has the names already."""
    target = built.artifact.target
    if target.firmware is not None:
        return built.artifact
    sizes = built.facts["tuning"]
    generation = generate(model, target, prefix="model", tuning=None if sizes is None else Values(**sizes))
    write(generation.files, folder / "source", {})
    objects = compile_objects(folder / "source", generation.sources, target, folder)
    return link(objects, target, folder / "source" / generation.words.build.artifact, names=True)
