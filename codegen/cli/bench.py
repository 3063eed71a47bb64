"""`llgen bench`: how fast a model is on a target."""

from __future__ import annotations

import platform
import statistics
from pathlib import Path
from typing import Any

import click

from llgen.codegen.build import Build, build_cached
from llgen.codegen.counting import instructions_per_token, uncountable
from llgen.codegen.quantized import read_model
from llgen.codegen.runner import run_bench
from llgen.targets.schema import load_target

from .options import (
    answer,
    context_option,
    json_option,
    kv_option,
    model_argument,
    require_positions,
    say,
    scheme_option,
    spinner,
    target_option,
)

_RUNS = 5


@click.command(name="bench")
@model_argument
@click.option(
    "--positions", type=click.IntRange(min=1), default=64, show_default=True, help="Positions to decode, from 0 on."
)
@target_option
@scheme_option
@kv_option
@context_option
@json_option
def command(
    model: Path, positions: int, target: str, scheme: str | None, kv: str | None, context: int | None, as_json: bool
) -> None:
    """Measure MODEL on a target: instructions a token, and on the machine at hand tokens a second.

    Time in an emulator says nothing of the machine it stands for, and is not measured.
    """
    source = read_model(model, scheme, kv, context)
    require_positions("--positions", positions, source.context)
    facts = load_target(target)
    with spinner("building") as progress:
        built = build_cached(source, facts, progress)
        progress("counting instructions")
        instructions = instructions_per_token(built.artifact, positions)
        native = facts.runner is not None and facts.runner.argv[0] == "{artifact}"
        progress("timing")
        results = [_decode(built, source.scheme, positions)] if native else []
    if as_json:
        answer(
            {
                "machine": f"{platform.machine()}, {platform.system()}" if native else facts.name,
                "target": facts.name,
                "results": results,
                "instructions_per_token": instructions,
            }
        )
        return
    for result in results:
        click.echo(f"decode          {result['median_tokens_per_second']:,.0f} tokens a second, median of {_RUNS} runs")
    if instructions is not None:
        click.echo(f"instructions    {instructions:,.0f} a token, mean of positions 0 to {positions - 1}")
    else:
        say(f"instructions not counted: {uncountable(built.artifact)}")


def _decode(built: Build, scheme: str, positions: int) -> dict[str, Any]:
    seconds = [run_bench(built.artifact, positions) for _ in range(_RUNS)]
    return {
        "engine": "llgen",
        "scheme": scheme,
        "kind": "decode",
        "positions": positions,
        "threads": 1,
        "median_tokens_per_second": round(positions / max(statistics.median(seconds), 1e-9), 1),
        "ratio": None,
    }
