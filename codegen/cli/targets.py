"""`llgen targets`: the targets, and which of their programs can run here."""

from __future__ import annotations

import click

from llgen.targets.schema import Target, load_target, target_names

from ..run.emulator import missing_emulator
from .output import answer, json_option


@click.command(name="targets")
@json_option
def command(as_json: bool) -> None:
    """List the targets: what each is for, how its programs run, and whether they can run here."""
    host = load_target("host").name
    targets = [load_target(name) for name in target_names()]
    if as_json:
        answer({"host": host, "targets": [_row(target) for target in targets]})
        return
    for target in targets:
        row = _row(target)
        here = "runs here" if row["runnable"] else str(row["problem"])
        if target.runner is None:
            here = "built only"
        star = "*" if target.name == host else " "
        click.echo(f"{star} {target.name:<19} {target.description}; {row['runs_with']}: {here}")
    click.echo("* this machine: --target host")


def _row(target: Target) -> dict[str, object]:
    problem = missing_emulator(target)
    return {
        "name": target.name,
        "description": target.description,
        "isa": list(target.isa),
        "runs_with": _runs_with(target),
        "runnable": problem is None,
        "problem": problem,
    }


def _runs_with(target: Target) -> str:
    if target.runner is None:
        return "another machine"
    word = target.runner.argv[0]
    return {"{artifact}": "this machine", "{python}": target.runner.python_package or "Python"}.get(word, word)
