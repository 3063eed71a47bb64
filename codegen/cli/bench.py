"""`llgen bench`: how fast a model is on a target, and beside other engines."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click
from rich.console import Console
from rich.table import Table

from llgen.codegen.bench.benchmark import Report, benchmark
from llgen.codegen.bench.lineup import RIVALS, Asked
from llgen.codegen.bench.profiles import Profile
from llgen.codegen.bench.shapes import SHAPES
from llgen.codegen.bench.subject import Subject, subject_of_directory, subject_of_shape
from llgen.codegen.errors import ExitCode, UsageError
from llgen.codegen.fold import SCHEMES
from llgen.targets.schema import load_target

from .options import (
    answer,
    context_option,
    json_option,
    kv_option,
    list_option,
    listed,
    prefill_option,
    prompt_tokens,
    require_positions,
    say,
    spinner,
)


@click.command(name="bench")
@click.argument("model", required=False, type=click.Path(path_type=Path))
@click.option("--shape", help=f"In place of MODEL: random weights of this shape: {', '.join(SHAPES)}.")
@list_option(
    "--schemes", "--scheme", "schemes", help=f"Of {','.join(SCHEMES)}, with commas between.  [default: the model's]"
)
@kv_option
@list_option("--threads", default="1", help="Numbers of threads, with commas between.")
@list_option("--target", default="host", help="Target names or TOML files, with commas between.")
@list_option("--against", default="yardstick", help=f"Of {','.join(RIVALS)}, with commas between; or none.")
@click.option("--positions", type=click.IntRange(min=1), help="To decode, from 0 on.  [default: 200; 64 where slow]")
@prefill_option
@click.option("--rounds", type=click.IntRange(min=1), default=7, show_default=True)
@click.option(
    "--instructions/--no-instructions", "counts", default=None, help="Count them.  [default: where that is quick]"
)
@click.option("--profile", is_flag=True, help="Also say which functions a token's instructions go to.")
@click.option(
    "--yardstick",
    type=click.Choice(("native", "target")),
    default="native",
    show_default=True,
    help="Compile the yardstick for this machine, or for the vectors that the target's kernels use.",
)
@click.option(
    "--tuning",
    "tunings",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Measure these sizes, too, beside the usual ones; may be given for several targets and schemes.",
)
@context_option
@json_option
def command(
    model: Path | None,
    shape: str | None,
    schemes: str | None,
    kv: str | None,
    threads: str,
    target: str,
    against: str,
    positions: int | None,
    prefill: int | None,
    rounds: int,
    counts: bool | None,
    profile: bool,
    yardstick: Literal["native", "target"],
    tunings: tuple[Path, ...],
    context: int | None,
    as_json: bool,
) -> int:
    """Measure MODEL: tokens a second on the machine at hand, beside other engines; instructions a token elsewhere.

    Engines take turns within one run; ratios are of medians, to the decoding of a plain C program, the yardstick. Time
    in an emulator says nothing of the machine it stands for, and is not measured. Exits 3 when the model does not fit
    one of several targets. doc/benchmarks.md says more.
    """
    targets = tuple(load_target(name) for name in listed("--target", target))
    if yardstick == "target" and len(targets) > 1:
        raise UsageError("--yardstick target is for one target", "--target names it")
    rivals = () if against == "none" else listed("--against", against, RIVALS)
    counted = tuple(_thread_count(text) for text in listed("--threads", threads))
    chosen = None if schemes is None else listed("--schemes", schemes, SCHEMES)
    subject = _subject(model, shape, kv, context)
    require_positions("--positions", positions, subject.context)
    require_positions("--prefill", prefill, subject.context)
    asked = Asked(
        targets=targets,
        schemes=chosen or subject.schemes,
        threads=counted,
        against=rivals,
        positions=positions,
        prefill=prompt_tokens(prefill, subject.context),
        tunings=tunings,
        profile=profile,
        yardstick=yardstick,
    )
    with spinner("building") as progress:
        report = benchmark(subject, asked, rounds=rounds, counts=counts, progress=progress)
    for note in report.notes:
        say(note)
    if as_json:
        answer(report.as_json())
    else:
        _show(report)
    return ExitCode.DONE if report.all_fit else ExitCode.DOES_NOT_FIT


def _subject(model: Path | None, shape: str | None, kv: str | None, context: int | None) -> Subject:
    if model is not None and shape is not None:
        raise UsageError("MODEL and --shape exclude each other", "give one of them")
    if model is not None:
        return subject_of_directory(model, kv, context)
    if shape is None:
        raise UsageError("there is nothing to measure", f"give MODEL, or --shape {'|'.join(SHAPES)}")
    return subject_of_shape(shape, kv, context)


def _thread_count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise UsageError(f"--threads has '{text}'", "whole numbers from 1 on, with commas between: 1,2")
    return int(text)


# ---------------------------------------------------------------------------------------------------------- for people


def _show(report: Report) -> None:
    console = Console(stderr=True)
    many = len(report.asked.targets) > 1
    if report.results:
        table = _table("engine", "numbers", "work", "threads", "vectors", "tokens a second", "spread", "ratio")
        for result in report.results:
            engine = result.engine
            table.add_row(
                f"{engine.title} {engine.target}" if many and engine.target else engine.title,
                engine.scheme,
                f"{engine.work.kind} {engine.work.positions}",
                str(engine.threads),
                engine.isa or "",
                f"{result.median:,.0f}",
                f"{result.spread:.0%}",
                "" if result.ratio is None else f"{result.ratio:.2f}",
            )
        console.print(table)
        rounds = len(report.results[0].speeds)
        say(f"{report.subject.name} on {report.machine}; medians of {rounds} rounds")
        if report.yardstick:
            say(f"ratio: to the yardstick's decoding; it is {report.yardstick}")
    if report.counts:
        table = _table("target", "numbers", "cache", "work", "instructions a token", "a weight")
        for count in report.counts:
            table.add_row(
                count.program.title,
                count.program.scheme,
                count.program.kv,
                f"{count.work.kind} {count.work.positions}",
                f"{count.per_token:,.0f}",
                f"{count.per_weight:.2f}",
            )
        console.print(table)
        say(f"{report.subject.name}: {report.subject.products:,} weights are multiplied for a token")
    for profile in report.profiles:
        _show_profile(profile)


def _show_profile(profile: Profile) -> None:
    """Functions that take at least a two-hundredth."""
    total = sum(profile.functions.values())
    table = _table("function", "instructions a token", "share")
    for name, count in profile.functions.items():
        if count >= total / 200:
            table.add_row(name, f"{count:,.0f}", f"{count / total:.1%}")
    say(f"{profile.program.title}, {profile.program.scheme}, decode {profile.positions}")
    Console(stderr=True).print(table)


def _table(*columns: str) -> Table:
    table = Table(*columns, box=None)
    for column in table.columns[-min(3, len(columns) - 1) :]:
        column.justify = "right"
    return table
