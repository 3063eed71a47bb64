"""`llgen bench`: how fast a model is on targets, compared with other engines."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click
from rich.console import Console
from rich.table import Table

from llgen.errors import ExitCode, UsageError
from llgen.targets.schema import load_target

from ..bench.benchmark import Report, benchmark
from ..bench.lineup import RIVALS, Asked
from ..bench.profiles import Profile
from ..bench.shapes import SHAPES
from ..bench.subject import Subject, subject_of_directory, subject_of_shape
from ..quantise.fold import SCHEMES
from .completion import complete_names, complete_target
from .options import (
    FilePath,
    context_option,
    kv_option,
    list_option,
    listed,
    prefill_option,
    prompt_tokens,
    require_positions,
)
from .output import answer, json_option, say, spinner


@click.command(name="bench")
@click.argument("model", required=False, type=FilePath())
@click.option(
    "--shape",
    shell_complete=complete_names(SHAPES),
    help=f"Instead of MODEL: random weights of this shape: {', '.join(SHAPES)}.",
)
@list_option(
    "--schemes",
    "--scheme",
    "schemes",
    complete=complete_names(SCHEMES),
    help=f"Number formats, separated by commas: {','.join(SCHEMES)}.  [default: the model's]",
)
@kv_option
@list_option("--threads", default="1", help="Numbers of threads, separated by commas.")
@list_option(
    "--target", default="host", complete=complete_target, help="Target names or TOML files, separated by commas."
)
@list_option(
    "--against",
    default="yardstick",
    complete=complete_names([*RIVALS, "none"]),
    help=f"Engines to compare with, separated by commas: {','.join(RIVALS)}; or none.",
)
@click.option("--positions", type=click.IntRange(min=1), help="Positions to decode.  [default: 200; 64 where slow]")
@prefill_option
@click.option("--rounds", type=click.IntRange(min=1), default=7, show_default=True)
@click.option(
    "--instructions/--no-instructions", "counts", default=None, help="Count instructions.  [default: if quick]"
)
@click.option("--profile", is_flag=True, help="Also count the instructions of each function.")
@click.option(
    "--yardstick",
    type=click.Choice(("native", "target")),
    default="native",
    show_default=True,
    help="Compile the yardstick for this machine, or for the vector instructions of the target's kernels.",
)
@click.option(
    "--tuning",
    "tunings",
    multiple=True,
    type=FilePath(),
    help="Also measure the sizes of this tuning file; may be repeated, for several targets and schemes.",
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
    """Measure MODEL: tokens per second on this machine, compared with other engines; or instructions per token.

    Engines take turns within one run. A ratio is the median speed divided by the yardstick's median decoding speed; the
    yardstick is a plain C program. Time in an emulator says nothing about the real machine: for emulated targets only
    instructions are counted. Exits 3 when the model does not fit one of several targets. See doc/benchmarks.md.
    """
    targets = tuple(load_target(name) for name in listed("--target", target))
    if yardstick == "target" and len(targets) > 1:
        raise UsageError("--yardstick target is for one target", "name one target with --target")
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
        raise UsageError(f"--threads has '{text}'", "integers from 1 up, separated by commas: 1,2")
    return int(text)


# ---------------------------------------------------------------------------------------------------------- for people


def _show(report: Report) -> None:
    console = Console(stderr=True)
    many = len(report.asked.targets) > 1
    if report.results:
        table = _table("engine", "numbers", "work", "threads", "vectors", "tokens per second", "spread", "ratio")
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
            say(f"ratio: median divided by that of the yardstick's decoding; the yardstick is {report.yardstick}")
    if report.counts:
        table = _table("target", "numbers", "cache", "work", "instructions per token", "per weight")
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
        say(f"{report.subject.name}: each token multiplies {report.subject.products:,} weights")
    for profile in report.profiles:
        _show_profile(profile)


def _show_profile(profile: Profile) -> None:
    """Print the functions that take at least 0.5 % of the instructions."""
    total = sum(profile.functions.values())
    table = _table("function", "instructions per token", "share")
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
