"""The line-up: all engines of a benchmark, with the programs and files that they need."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from llgen.errors import ExitCode, LlgenError, UsageError
from llgen.targets.schema import Target

from ..build.folder import Build, build_cached
from ..formats.hf.directory import save_checkpoint
from ..plan.tuning import load_tuning, read_values
from . import llama_cpp, torch_eager
from .engine import Engine, Work
from .generated import generated_engine, max_threads
from .limit import bytes_a_token, limit_engines
from .native import march_of
from .subject import Subject
from .yardstick import compile_yardstick, write_weights, yardstick_engine

RIVALS = ("yardstick", "llama.cpp", "torch", "limit")
"""What llgen can be measured against."""

_MISSING = {"llama.cpp": llama_cpp.missing, "torch": torch_eager.missing}


@dataclass(frozen=True)
class Asked:
    """What the command line chose."""

    targets: tuple[Target, ...]
    schemes: tuple[str, ...]
    threads: tuple[int, ...]
    against: tuple[str, ...]
    positions: int | None
    """Number of positions to decode; None: the default for the model."""
    prefill: int
    """Tokens of the prompt; 0: prefill is not measured."""
    tunings: tuple[Path, ...] = ()
    """Tuning files. Each is measured beside the default sizes, for the target and scheme that it was made for."""
    profile: bool = False
    """Whether to count instructions by function, too."""
    yardstick: Literal["native", "target"] = "native"
    """native: compiled for this processor. target: for the vector instructions of the one target."""

    def works(self, subject: Subject, *, timed: bool) -> list[Work]:
        """The kinds of work that each engine does."""
        decode = Work("decode", self.positions or subject.usual_positions(timed=timed))
        return [decode, *([Work("prefill", self.prefill)] if self.prefill else [])]


@dataclass(frozen=True)
class Program:
    """A model in one scheme, compiled for one target."""

    scheme: str
    kv: str
    built: Build
    bytes_read: int
    """Bytes of weights that a token needs."""
    tuning: str | None = None
    """Tuning file; None for the default sizes."""

    @property
    def title(self) -> str:
        """Target and tuning file, for a person."""
        name = self.built.artifact.target.name
        return f"{name} with {self.tuning}" if self.tuning else name


def build_programs(
    subject: Subject, asked: Asked, progress: Callable[[str], None]
) -> tuple[list[Program], list[LlgenError]]:
    """Build every scheme for every target, or take the program from the cache.

    With several targets, also return an error for each program that does not fit its target. Raises LlgenError as
    `build` and `read_values` do, and UsageError for a tuning that belongs to none of the programs.
    """
    programs: list[Program] = []
    misfits: list[LlgenError] = []
    count = subject.digest_positions
    tunings = {path: load_tuning(path).purpose for path in asked.tunings}
    for scheme in asked.schemes:
        progress(f"making the model in {scheme}")
        model = subject.model(scheme)
        bytes_read = bytes_a_token(model)
        for target in asked.targets:
            tell = _labelled(progress, f"{scheme} for {target.name}")
            mine = [path for path, made in tunings.items() if (made.target, made.scheme) == (target.name, scheme)]
            try:
                built = build_cached(model, target, tell, digest_positions=count)
                programs.append(Program(scheme, model.kv, built, bytes_read))
                for path in mine:
                    sizes = read_values(path, model, target)
                    built = build_cached(model, target, tell, tuning=sizes, digest_positions=count)
                    programs.append(Program(scheme, model.kv, built, bytes_read, str(path)))
            except LlgenError as error:
                if error.exit_code != ExitCode.DOES_NOT_FIT or len(asked.targets) == 1:
                    raise
                misfits.append(error)
    used = {program.tuning for program in programs}
    for path, made in tunings.items():
        if str(path) not in used and not misfits:
            raise UsageError(f"'{path}' is for scheme {made.scheme} on {made.target}, which is not measured")
    return programs, misfits


def _labelled(progress: Callable[[str], None], label: str) -> Callable[[str], None]:
    return lambda what: progress(f"{label}: {what}")


@dataclass(frozen=True)
class Lineup:
    """The engines that can be measured, and a line for each that was left out or changed."""

    engines: tuple[Engine, ...]
    notes: tuple[str, ...]
    yardstick: str | None
    """How the yardstick was compiled; None without a yardstick."""


@contextmanager
def lineup(
    subject: Subject, asked: Asked, programs: Sequence[Program], progress: Callable[[str], None]
) -> Iterator[Lineup]:
    """Make the engines; their files of weights exist until the `with` block ends."""
    works = asked.works(subject, timed=True)
    notes = [] if subject.note is None or not asked.against else [subject.note]
    most = {program.built.artifact.target.name: max_threads(program.built.artifact) for program in programs}
    notes += [
        f"{name} is measured on at most {count} thread{'s' if count > 1 else ''}: its C can use no more"
        for name, count in most.items()
        if count < max(asked.threads)
    ]
    engines = [
        generated_engine(program.built.artifact, program.scheme, program.kv, work, threads, program.tuning)
        for work in works
        for threads in asked.threads
        for program in programs
        if threads <= most[program.built.artifact.target.name]
    ]
    if programs and not engines:
        raise UsageError(f"no program of llgen can use {min(asked.threads)} threads", "--threads 1")
    present = [name for name in asked.against if name not in _MISSING or _MISSING[name]() is None]
    notes += [f"{name} is left out: {_MISSING[name]()}" for name in asked.against if name not in present]
    with TemporaryDirectory(prefix="llgen-bench-") as temporary:
        progress("writing weights for other engines")
        yardstick, rivals, more = _rivals(subject, asked, works, present, Path(temporary))
        if "limit" in present:
            bytes_read = {program.scheme: program.bytes_read for program in programs}
            used = [count for count in asked.threads if count <= max(most.values(), default=0)]
            rivals += limit_engines(subject, bytes_read, works, used, _march(asked))
        yield Lineup((*rivals, *engines), (*notes, *more), yardstick)


def _march(asked: Asked) -> str | None:
    """The compilers' -march for engines other than llgen, which says what instructions they may use."""
    return "native" if asked.yardstick == "native" else march_of(asked.targets[0])


def _rivals(
    subject: Subject, asked: Asked, works: Sequence[Work], present: Sequence[str], folder: Path
) -> tuple[str | None, list[Engine], list[str]]:
    """The yardstick's compiler, the other engines, and notes about them."""
    engines: list[Engine] = []
    notes: list[str] = []
    compiler = None
    if set(present) - {"limit"}:
        checkpoint = subject.checkpoint()
    if "yardstick" in present:
        yardstick = compile_yardstick(_march(asked))
        compiler = f"{yardstick.compiler} ({yardstick.isa})"
        write_weights(checkpoint, folder / "yardstick.weights")
        engines.append(yardstick_engine(yardstick, folder / "yardstick.weights", works[0].positions))
    if "llama.cpp" in present:
        paths, notes = llama_cpp.write_files(checkpoint, asked.schemes, folder)
        engines += [
            llama_cpp.llama_cpp_engine(path, kind, work, threads)
            for work in works
            for threads in asked.threads
            for kind, path in paths.items()
        ]
    if "torch" in present:
        save_checkpoint(checkpoint, folder / "model")
        engines += [
            torch_eager.torch_engine(folder / "model", work, threads) for work in works for threads in asked.threads
        ]
    return compiler, engines, notes
