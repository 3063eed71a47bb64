"""`llgen tune`: measure sizes of blocks and tiles, and write those that are faster where a build can read them."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Literal

import click

from llgen.codegen.bench.engine import Work
from llgen.codegen.bench.generated import max_threads
from llgen.codegen.bench.subject import Subject, subject_of_directory
from llgen.codegen.blocking import positions_of_block
from llgen.codegen.errors import ExitCode, LlgenError, UsageError
from llgen.codegen.fold import SCHEMES
from llgen.codegen.kernels import select
from llgen.codegen.quantize import QuantModel
from llgen.codegen.toolchain import Artifact
from llgen.codegen.tune.document import changes, document, trial_words
from llgen.codegen.tune.tuner import By, Outcome, Request, tune
from llgen.codegen.tuning import load_tuning
from llgen.targets.schema import Target, keeps_time, load_target

from .options import (
    answer,
    context_option,
    json_option,
    kv_option,
    model_argument,
    prefill_option,
    prompt_tokens,
    require_positions,
    say,
    spinner,
    target_option,
)


@click.command(name="tune")
@model_argument
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="File to write.  [default: MODEL-TARGET-SCHEME.toml]"
)
@target_option
@click.option("--scheme", type=click.Choice(SCHEMES), help="Number format.  [default: the model's]")
@kv_option
@context_option
@click.option(
    "--by",
    type=click.Choice(("time", "instructions")),
    help="What is measured.  [default: time here, instructions where the target is emulated]",
)
@click.option("--positions", type=click.IntRange(min=1), help="To decode, from 0 on.  [default: as in `bench`]")
@prefill_option
@click.option("--rounds", type=click.IntRange(min=3), default=7, show_default=True, help="Of time.")
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True, help="Tune for so many.")
@click.option("--seconds", type=click.FloatRange(min=0), help="Try nothing new after so long.")
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
    """Find block and tile sizes for models of MODEL's shape on a target, in time or in instructions a token.

    The file is for `llgen build --tuning`. What is not faster by more than noise stays as it is, and no bit of the
    result changes. After Ctrl-C, or when --seconds are over, the same command goes on.
    """
    facts = load_target(target)
    by = by or ("time" if keeps_time(facts) else "instructions")
    _require_sense(facts, by, threads)
    subject = subject_of_directory(model, kv, context)
    require_positions("--positions", positions, subject.context)
    require_positions("--prefill", prefill, subject.context)
    path = output or Path(f"{subject.name}-{facts.name}-{scheme or subject.schemes[0]}.toml")
    _require_ours(path)
    with spinner("loading") as progress:
        source = subject.model(scheme or subject.schemes[0])
        works = _works(subject, source, facts, by, positions, prefill)
        request = Request(source, facts, by, works, rounds, threads, seconds)
        try:
            outcome = tune(request, path.with_name(f".{path.name}.journal"), progress, lambda t: say(trial_words(t)))
        except KeyboardInterrupt:
            say("stopped; the same command goes on")
            raise
    _write(path, document(request, outcome))
    if as_json:
        answer(_as_json(request, outcome, path))
    _tell(outcome, path)
    return ExitCode.DONE


def _require_sense(target: Target, by: By, threads: int) -> None:
    if by == "time" and not keeps_time(target):
        raise UsageError(f"time on '{target.name}' would be that of its emulator", "--by instructions")
    if by == "instructions" and threads > 1:
        raise UsageError("--threads is for --by time: instructions are counted of all threads together")
    most = max_threads(Artifact(Path(), target))
    if threads > most:
        raise UsageError(f"--threads {threads}: programs for '{target.name}' take at most {most}")


def _require_ours(path: Path) -> None:
    """Raise LlgenError for a file that is there and no tuning."""
    if path.exists():
        try:
            load_tuning(path)
        except LlgenError as error:
            raise LlgenError(f"'{path}' is there, and is no tuning", "choose another file with -o") from error


def _works(
    subject: Subject, model: QuantModel, target: Target, by: By, positions: int | None, prefill: int | None
) -> tuple[Work, ...]:
    """Decoding; and prefill, where that is other code than decoding is."""
    decode = Work("decode", positions or subject.usual_positions(timed=by == "time"))
    asked = prompt_tokens(prefill, subject.context)
    blocks = positions_of_block(model, select(target.isa), target) > 1
    kind: Literal["prefill"] = "prefill"
    return (decode, *([Work(kind, asked)] if asked and blocks else []))


def _write(path: Path, text: str) -> None:
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as stream:
        stream.write(text)
    Path(stream.name).chmod(0o644)
    Path(stream.name).replace(path)


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
        say("nothing was faster than the usual sizes by more than noise")
    for name, (before, after) in changes(outcome.usual, outcome.values).items():
        say(f"{name}: {after}, usually {before}")
    ratios = ", ".join(f"{kind} {ratio:.3f}" for kind, ratio in outcome.ratios.items())
    say(f"speed over that of the usual sizes: {ratios}; digest {outcome.digest} as before")
    if not outcome.complete:
        say("the time ran out; the same command goes on")
    say(f"wrote {path}")
