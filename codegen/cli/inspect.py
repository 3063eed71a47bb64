"""`llgen inspect`: print the result of any stage of the pipeline."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from llgen.shown import printable
from llgen.targets.schema import load_target

from ..formats.hf.directory import load_checkpoint
from ..model.spec import lower
from ..model.vocabulary import Vocabulary
from ..quantise.quantized import read_model
from ..render.pipeline import Generation, generate
from .options import context_option, kv_option, model_argument, scheme_option, target_option
from .output import answer, json_option

_SPEC = "spec"
_STAGES: dict[str, Callable[[Generation], Any]] = {
    "quant": lambda generation: generation.model,
    "plan": lambda generation: generation.memory,
    "kernels": lambda generation: generation.kernels,
    "words": lambda generation: generation.words,
}


@click.command(name="inspect")
@model_argument
@click.option(
    "--stage", type=click.Choice([_SPEC, *_STAGES]), default=_SPEC, show_default=True, help="The stage to print."
)
@target_option
@scheme_option
@kv_option
@context_option
@json_option
def command(
    model: Path, stage: str, target: str, scheme: str | None, kv: str | None, context: int | None, as_json: bool
) -> None:
    """Print the result of one stage of the pipeline for MODEL; arrays as shape and range."""
    facts = load_target(target)
    if stage == _SPEC:
        described = _describe(lower(load_checkpoint(model), context))
    else:
        described = _describe(_STAGES[stage](generate(read_model(model, scheme, kv, context), facts)))
    if as_json:
        answer(described)
    else:
        _print(described, "")


def _describe(value: Any) -> Any:
    """A stage's result as plain lists and dictionaries."""
    if isinstance(value, np.ndarray):
        return {"shape": list(value.shape), "min": float(value.min()), "max": float(value.max())}
    if isinstance(value, Vocabulary):
        fields = dataclasses.fields(value)
        facts = {field.name: getattr(value, field.name) for field in fields if field.name not in ("proto", "pieces")}
        return {"pieces": len(value), **facts}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _describe(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _describe(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_describe(item) for item in value]
    return value


def _print(value: Any, indent: str) -> None:
    for key, item in value.items():
        if isinstance(item, Mapping) and set(item) == {"shape", "min", "max"}:
            click.echo(f"{indent}{key:<16} {item['shape']}  {item['min']:.6g} to {item['max']:.6g}")
        elif isinstance(item, Mapping):
            click.echo(f"{indent}{key}")
            _print(item, indent + "  ")
        elif isinstance(item, list) and item and isinstance(item[0], Mapping):
            for index, entry in enumerate(item):
                click.echo(f"{indent}{key}[{index}]")
                _print(entry, indent + "  ")
        else:
            text = str(item)
            click.echo(printable(f"{indent}{key:<16} {text if len(text) <= 160 else text[:157] + '...'}"))
