"""`llgen tune`: measure sizes of blocks and tiles, and write the fastest to a file for `llgen build --tuning`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from llgen.errors import ExitCode, LlgenError, UsageError
from llgen.targets.instruction_sets import select
from llgen.targets.schema import Target, keeps_time, load_target
from llgen.whole import replacing

from ..bench.engine import Work
from ..bench.generated import max_threads
from ..bench.subject import Subject, subject_of_directory
from ..compile.toolchain import Artifact
from ..plan.blocking import positions_of_block
from ..plan.tuning import load_tuning
from ..quantise.fold import SCHEMES
from ..quantise.quantize import QuantModel
from ..tune.document import changes, document, trial_words
from ..tune.tuner import By, Outcome, Request, tune
from .options import (
    FilePath,
    context_option,
    kv_option,
    model_argument,
    prefill_option,
    prompt_tokens,
    require_positions,
    take_file,
    target_option,
)
from .output import answer, json_option, say, spinner


@click.command(name="tune")
@model_argument
@click.option("-o", "--output", type=FilePath(), help="File to write.  [default: MODEL-TARGET-SCHEME.toml]")
@target_option
@click.option("--scheme", type=click.Choice(SCHEMES), help="Number format.  [default: the model's]")
@kv_option
@context_option
@click.option(
    "--by",
    type=click.Choice(("time", "instructions")),
    help="What is measured.  [default: time here, instructions where the target is emulated]",
)
@click.option("--positions", type=click.IntRange(min=1), help="Positions to decode.  [default: as in `bench`]")
@prefill_option
@click.option("--rounds", type=click.IntRange(min=3), default=7, show_default=True, help="Rounds of --by time.")
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True, help="Threads to tune for.")
@click.option("--seconds", type=click.FloatRange(min=0), help="Start no new trial after this time.")
@json_option
def command(
    model: Path,
    output: Path | None,
    target: str,
    scheme: str | None,
    kv: str | None,
    context: int | None,
    by: By | None,
    positions: int | None,
    prefill: int | None,
    rounds: int,
    threads: int,
    seconds: float | None,
    as_json: bool,
) -> int:
    """Find block and tile sizes for models of MODEL's shape on a target, by time or by instructions per token.

    The file is for `llgen build --tuning`. A size changes only if it is faster by more than noise, and no bit of the
    result changes. After Ctrl-C, or after --seconds, the same command continues.
    """
    facts = load_target(target)
    by = by or ("time" if keeps_time(facts) else "instructions")
    _require_sense(facts, by, threads)
    subject = subject_of_directory(model, kv, context)
    require_positions("--positions", positions, subject.context)
    require_positions("--prefill", prefill, subject.context)
    path = output or Path(f"{subject.name}-{facts.name}-{scheme or subject.schemes[0]}.toml")
    _require_ours(path)
    take_file(path)
    with spinner("loading") as progress:
        source = subject.model(scheme or subject.schemes[0])
        works = _works(subject, source, facts, by, positions, prefill)
        request = Request(source, facts, by, works, rounds, threads, seconds)
        try:
            outcome = tune(request, path.with_name(f".{path.name}.journal"), progress, lambda t: say(trial_words(t)))
        except KeyboardInterrupt:
            say("stopped; the same command continues")
            raise
    _write(path, document(request, outcome))
    if as_json:
        answer(_as_json(request, outcome, path))
    _tell(outcome, path)
    return ExitCode.DONE


def _require_sense(target: Target, by: By, threads: int) -> None:
    if by == "time" and not keeps_time(target):
        raise UsageError(f"the time on '{target.name}' would be the emulator's", "--by instructions")
    if by == "instructions" and threads > 1:
        raise UsageError("--threads is for --by time: an instruction count is the sum over all threads")
    most = max_threads(Artifact(Path(), target))
    if threads > most:
        raise UsageError(f"--threads {threads}: programs for '{target.name}' can use at most {most}")


def _require_ours(path: Path) -> None:
    """Raise LlgenError for an existing file that is not a tuning."""
    if path.exists():
        try:
            load_tuning(path)
        except LlgenError as error:
            raise LlgenError(f"'{path}' exists and is not a tuning", "choose another file with -o") from error


def _works(
    subject: Subject, model: QuantModel, target: Target, by: By, positions: int | None, prefill: int | None
) -> tuple[Work, ...]:
    """The work to measure: decoding; and prefill, when the generated code evaluates blocks of positions."""
    decode = Work("decode", positions or subject.usual_positions(timed=by == "time"))
    asked = prompt_tokens(prefill, subject.context)
    blocks = positions_of_block(model, select(target.isa), target) > 1
    kind: Literal["prefill"] = "prefill"
    return (decode, *([Work(kind, asked)] if asked and blocks else []))


def _write(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _as_json(request: Request, outcome: Outcome, path: Path) -> dict[str, object]:
    return {
        "model": request.model.name,
        "target": request.target.name,
        "scheme": request.model.scheme,
        "kv": request.model.kv,
        "by": request.by,
        "values": outcome.values.given(),
        "usual": outcome.usual.given(),
        "ratios": {kind: round(ratio, 4) for kind, ratio in outcome.ratios.items()},
        "flash_bytes": list(outcome.flash_bytes),
        "ram_bytes": list(outcome.ram_bytes),
        "tried": len(outcome.trials),
        "complete": outcome.complete,
        "digest": outcome.digest,
        "file": str(path),
    }


def _tell(outcome: Outcome, path: Path) -> None:
    if outcome.values == outcome.usual:
        say("no sizes were faster than the default sizes by more than noise")
    for name, (before, after) in changes(outcome.usual, outcome.values).items():
        say(f"{name}: {after}, default {before}")
    ratios = ", ".join(f"{kind} {ratio:.3f}" for kind, ratio in outcome.ratios.items())
    say(f"speed divided by the speed with the default sizes: {ratios}; digest {outcome.digest} is unchanged")
    if not outcome.complete:
        say("the time limit ended the search; the same command continues")
    say(f"wrote {path}")
