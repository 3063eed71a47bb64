"""Tuning a model for a target: measured, chosen, measured again, and proved to compute what it did before."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from llgen.targets.schema import Target

from ..bench.engine import Kind, Work
from ..build import DIGEST_POSITIONS, build_key, expected_trace
from ..counting import uncountable
from ..errors import ExitCode, LlgenError
from ..quantize import QuantModel
from ..runner import missing_emulator, run_selftest
from ..tuning import Values
from .journal import Journal
from .judges import Counter, Progress, Timer
from .knobs import knobs, neighbours, usual_values
from .search import Gain, Trial, search
from .trials import Trials

By = Literal["time", "instructions"]


@dataclass(frozen=True)
class Request:
    """What is to be tuned, and how it is measured."""

    model: QuantModel
    target: Target
    by: By
    works: tuple[Work, ...]
    rounds: int
    """Of time."""
    threads: int
    seconds: float | None
    """After so many nothing new is tried."""


@dataclass(frozen=True)
class Outcome:
    """What was found."""

    usual: Values
    values: Values
    """The usual ones, when nothing was better."""
    ratios: Mapping[Kind, float]
    """Speed with the values over that with the usual ones."""
    flash_bytes: tuple[int, int]
    """With the usual values, and with those that were found."""
    ram_bytes: tuple[int, int]
    trials: tuple[Trial, ...]
    complete: bool
    """All was tried that was to be; else `seconds` ran out."""
    digest: str
    """What the program with the values printed, and the reference computed."""


def tune(request: Request, journal: Path, progress: Progress, told: Callable[[Trial], None]) -> Outcome:
    """Find sizes; measurements are kept in `journal` until all is done.

    Raises LlgenError when programs cannot be run or counted here, or compute something else than Python.
    """
    began = time.monotonic()
    model, target = request.model, request.target
    problem = missing_emulator(target)
    if problem:
        raise LlgenError(f"cannot tune for '{target.name}': {problem}", "`llgen doctor` lists what is there")
    usual = usual_values(model, target, threads=request.threads > 1)
    trials: list[Trial] = []

    def tell(trial: Trial) -> None:
        trials.append(trial)
        told(trial)

    def in_time() -> bool:
        return request.seconds is None or time.monotonic() - began < request.seconds

    with TemporaryDirectory(prefix="llgen-tune-") as temporary:
        programs = Trials(model, target, Path(temporary))
        kept = Journal(journal, build_key(model, target, *_measuring(request)))
        judge: Timer | Counter
        if request.by == "time":
            judge = Timer(model, programs, kept, request.works, request.rounds, request.threads, progress)
        else:
            _require_counting(programs, usual, progress)
            judge = Counter(programs, kept, request.works, progress)
        found, complete = search(
            usual, knobs(usual), lambda values, knob: neighbours(values, knob, model, target), judge,
            told=tell, in_time=in_time,
        )  # fmt: skip
        values, ratios = usual, dict.fromkeys((work.kind for work in request.works), 1.0)
        if found != usual:
            gain = _again(judge, usual, found)
            if gain is not None and gain.better:
                values, ratios = found, dict(gain.ratios)
        digest = _proved(programs, values, model, progress)
        programs.program(usual)
        sizes = list(zip(programs.sizes(usual), programs.sizes(values), strict=True))
        if complete:
            kept.remove()
    return Outcome(usual, values, ratios, sizes[0], sizes[1], tuple(trials), complete, digest)


def _measuring(request: Request) -> list[str]:
    works = [f"{work.kind} {work.positions}" for work in request.works]
    rounds = [str(request.rounds), str(request.threads)] if request.by == "time" else []
    return [request.by, *works, *rounds]


def _require_counting(programs: Trials, usual: Values, progress: Progress) -> None:
    progress("compiling")
    problem = uncountable(programs.program(usual))
    if problem:
        raise LlgenError(f"instructions cannot be counted: {problem}")


def _again(judge: Timer | Counter, usual: Values, found: Values) -> Gain | None:
    """What was found against the usual values: of many candidates the best one owes something to luck."""
    if isinstance(judge, Timer):
        judge = replace(judge, label="again")
    return judge(usual, [found])[0]


def _proved(programs: Trials, values: Values, model: QuantModel, progress: Progress) -> str:
    """The digest of the program with these values, which is that of the reference."""
    positions = min(DIGEST_POSITIONS, model.context)
    progress("comparing with the reference")
    expected, found = expected_trace(model, positions), run_selftest(programs.program(values), positions)
    if found != expected:
        raise LlgenError(
            f"with {values.given()} the digest is {found.digest_hex}, in Python {expected.digest_hex}",
            "this is a fault of llgen's, which a tuning must not show; please report it",
            ExitCode.PARITY_FAILED,
        )
    return found.digest_hex
