"""Tune a model for a target: measure, choose, measure the choice again, and prove that the results are the same."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from llgen.errors import ExitCode, LlgenError
from llgen.targets.schema import Target

from ..bench.engine import Kind, Work
from ..build.folder import DIGEST_POSITIONS, build_key, expected_trace
from ..plan.tuning import Values
from ..quantise.quantize import QuantModel
from ..run.counting import uncountable
from ..run.emulator import missing_emulator
from ..run.runner import run_selftest
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
    """Number of rounds when time is measured."""
    threads: int
    seconds: float | None
    """Time limit, after which no new trial starts; None: no limit."""


@dataclass(frozen=True)
class Outcome:
    """The result of a tuning."""

    usual: Values
    values: Values
    """The chosen values; the default values when nothing was better."""
    ratios: Mapping[Kind, float]
    """Kind of work -> speed with the chosen values divided by the speed with the default values."""
    flash_bytes: tuple[int, int]
    """With the default values, and with the chosen values."""
    ram_bytes: tuple[int, int]
    trials: tuple[Trial, ...]
    complete: bool
    """Whether the search came to its end before the time limit."""
    digest: str
    """Digest that the program with the chosen values printed; it equals the reference's digest."""


def tune(request: Request, journal: Path, progress: Progress, told: Callable[[Trial], None]) -> Outcome:
    """Find sizes; `journal` keeps the measurements until the search has come to its end.

    Raises LlgenError when programs cannot run here, when their instructions cannot be counted, or when they compute
    something other than Python.
    """
    began = time.monotonic()
    model, target = request.model, request.target
    problem = missing_emulator(target)
    if problem:
        raise LlgenError(f"cannot tune for '{target.name}': {problem}", "`llgen doctor` lists what is installed")
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
    """Measure the found values against the default values anew: the best of many candidates was partly lucky."""
    if isinstance(judge, Timer):
        judge = replace(judge, label="again")
    return judge(usual, [found])[0]


def _proved(programs: Trials, values: Values, model: QuantModel, progress: Progress) -> str:
    """The digest of the program with these values; raises LlgenError when the reference's digest differs."""
    positions = min(DIGEST_POSITIONS, model.context)
    progress("comparing with the reference")
    expected, found = expected_trace(model, positions), run_selftest(programs.program(values), positions)
    if found != expected:
        raise LlgenError(
            f"with {values.given()} the digest is {found.digest_hex}, in Python {expected.digest_hex}",
            "a tuning must not change results; this is a bug in llgen, please report it",
            ExitCode.PARITY_FAILED,
        )
    return found.digest_hex
