"""`llgen train`: train a model on the user's or generated text, and write a model directory."""

from __future__ import annotations

import math
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from llgen.errors import ExitCode, UsageError

from .completion import complete_preset, complete_setting, complete_target
from .options import FilePath, field_option, need_torch, separator_option
from .output import answer, json_option, kib, say

if TYPE_CHECKING:  # training alone imports torch
    from llgen.trainer.config import TrainConfig
    from llgen.trainer.judgement import Kept
    from llgen.trainer.train import TrainResult

_DEFAULT_PRESET = "stories-260k"
_FOLDER = FilePath()
_NAME = FilePath(path_type=str)
"""A path that the run's configuration stores as it was given."""

# Options that are a short form of a setting.
_SETTINGS = {
    "data": ("data", "source"),
    "field": ("data", "field"),
    "separator": ("data", "separator"),
    "tokenizer": ("data", "tokenizer"),
    "iterations": ("schedule", "iterations"),
    "minutes": ("schedule", "minutes"),
    "start": ("start", "model"),
    "lora": ("start", "lora"),
    "teacher": ("start", "teacher"),
    "seed": ("seed",),
}


@click.command(name="train")
@click.argument("config", required=False, type=_FOLDER)
@click.option("-o", "--output", type=_FOLDER, help="Folder of the run.  [required, except with --dry-run]")
@click.option(
    "--preset",
    shell_complete=complete_preset,
    help=f"Settings to start from, named by the size of the model.  [default: {_DEFAULT_PRESET}]",
)
@click.option(
    "--data",
    type=_NAME,
    help="Text or JSON lines, also as gzip or zstd, or a folder of them.  [default: stories that llgen generates]",
)
@field_option
@separator_option
@click.option(
    "--tokenizer",
    type=_NAME,
    help="A tokenizer.model, tokenizer.json or tokenizer.bin.  [default: MODEL's, or train one on the data]",
)
@click.option("--iterations", type=click.IntRange(min=1), help="Steps of the optimiser.")
@click.option("--minutes", type=click.FloatRange(min=0.0, min_open=True), help="Time to train; replaces --iterations.")
@click.option("--from", "start", metavar="MODEL", type=_NAME, help="A model directory to fine-tune.")
@click.option("--lora", type=click.IntRange(min=1), metavar="RANK", help="Fine-tune adapters, merged at the end.")
@click.option("--teacher", metavar="MODEL", type=_NAME, help="A model directory to distil from.")
@click.option("--shard", is_flag=True, help="Under torchrun: divide the model among processes (FSDP).")
@click.option("--seed", type=click.IntRange(min=0), help="Seed of weights and batches.  [default: 1]")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    shell_complete=complete_setting,
    help="Any other setting; may be repeated.",
)
@click.option("--stop-after", type=click.IntRange(min=1), metavar="N", help="End this call after N iterations.")
@click.option("--dry-run", is_flag=True, help="Print the memory and flash that it would take, and do not train.")
@click.option(
    "--target",
    default="cortex_m7",
    show_default=True,
    shell_complete=complete_target,
    help="With --dry-run: the target of the model.",
)
@json_option
def command(
    config: Path | None,
    output: Path | None,
    preset: str | None,
    settings: tuple[str, ...],
    shard: bool,
    stop_after: int | None,
    dry_run: bool,
    target: str,
    as_json: bool,
    **shortcuts: object,
) -> int:
    """Train a model as the TOML file CONFIG says, and write it to RUN/model.

    After Ctrl-C or any other interruption, the same command continues, with the same losses. For several machines, run
    the same command under torchrun. doc/training.md lists the settings.
    """
    need_torch()
    asked = _configuration(config, preset, settings, shortcuts, shard)
    if dry_run:
        return _dry_run(asked, target, as_json)
    if output is None:
        raise UsageError("a run needs a folder", "-o FOLDER")
    return _train(output, asked, stop_after, as_json)


def _configuration(
    path: Path | None, preset: str | None, settings: tuple[str, ...], shortcuts: dict[str, object], shard: bool
) -> TrainConfig:
    from llgen.trainer.layers import layered, read_config_file, read_preset, setting

    if shortcuts["iterations"] is not None and shortcuts["minutes"] is not None:
        raise UsageError("--iterations and --minutes both say when training ends", "give one of them")
    layers: list[dict[str, Any]] = []
    file = {} if path is None else read_config_file(path)
    named = file.pop("preset", None if file or shortcuts["start"] else _DEFAULT_PRESET)
    preset = named if preset is None else preset
    if preset is not None:
        layers.append(read_preset(preset))
    layers.append(file)
    for name, place in _SETTINGS.items():
        value = shortcuts[name]
        if value is not None:
            for key in reversed(place):
                value = {key: value}
            layers.append(value)  # type: ignore[arg-type]  # a mapping, after the loop
    if shard:
        layers.append({"hardware": {"shard": True}, "optimizer": {"name": "adamw"}})
    layers += [setting(text) for text in settings]
    return layered(layers)


def _train(run: Path, asked: TrainConfig, stop_after: int | None, as_json: bool) -> int:
    from llgen.trainer.export import export_run
    from llgen.trainer.judgement import WorseThanChance
    from llgen.trainer.processes import leads
    from llgen.trainer.progress import ConsoleReporter
    from llgen.trainer.run import train

    model = run / "model"
    try:
        result = train(run, asked, ConsoleReporter(), stop_after=stop_after)
    except WorseThanChance as error:
        if leads() and error.useful:
            export_run(run, model)
            say(f"wrote {model}: {_weights_of(error.kept)}")
        raise
    if not leads():
        return 0
    if not result.interrupted:
        export_run(run, model)
    if as_json:
        answer(_as_json(result, run, model))
    _tell(result, run, model)
    return ExitCode.INTERRUPTED if result.interrupted and stop_after is None else 0


def _as_json(result: TrainResult, run: Path, model: Path) -> dict[str, object]:
    kept = result.kept
    return {
        "run": str(run),
        "model": None if result.interrupted else str(model),
        "iterations": result.iteration,
        "held_out_loss": kept.loss if math.isfinite(kept.loss) else None,
        "kept_iteration": kept.iteration if math.isfinite(kept.loss) else None,
        "last_held_out_loss": result.held_out_loss if math.isfinite(result.held_out_loss) else None,
        "seconds": round(result.seconds, 3),
        "tokens_per_second": round(result.tokens_per_second, 1),
        "interrupted": result.interrupted,
    }


def _tell(result: TrainResult, run: Path, model: Path) -> None:
    if result.interrupted:
        say(f"stopped after iteration {result.iteration:,}; continue with the same command:")
        say("  " + shlex.join(["llgen", *sys.argv[1:]]))
        if "TORCHELASTIC_RUN_ID" in os.environ:
            say("under torchrun, with the same number of processes")
        return
    from llgen.trainer.judgement import has_risen

    kept = result.kept
    say(
        f"held-out loss {kept.loss:.3f} nats/token after {kept.iteration:,} iterations"
        f" ({result.seconds:.0f} s, {result.tokens_per_second:,.0f} tokens/s)"
    )
    if has_risen(result.held_out_loss, kept):
        say(f"after {result.iteration:,} it is {result.held_out_loss:.3f}: the model begins to learn its text by heart")
    say(f"wrote {model}" + ("" if kept.iteration == result.iteration else f": {_weights_of(kept)}"))
    say(f"next: llgen build {shlex.quote(str(model))} -o out")


def _weights_of(kept: Kept) -> str:
    return f"the weights of iteration {kept.iteration:,}, held-out loss {kept.loss:.3f} nats/token"


def _dry_run(asked: TrainConfig, target: str, as_json: bool) -> int:
    from llgen.targets.schema import load_target
    from llgen.trainer.estimate import estimate
    from llgen.trainer.prepare import given_vocabulary
    from llgen.trainer.start import with_shape_of_start

    from ..pack.estimate import blank_model
    from ..pack.estimate import estimate as estimate_target
    from ..quantise.fold import SCHEMES

    asked = with_shape_of_start(asked)
    facts, need = load_target(target), estimate(asked)
    vocabulary = given_vocabulary(asked)
    shape = asked.model.resolved()
    sizes = {scheme: estimate_target(blank_model(shape, scheme, vocabulary), facts) for scheme in SCHEMES}
    if as_json:
        answer(
            {
                "parameters": need.parameters,
                "trained_parameters": need.trained,
                "tokens_per_iteration": need.tokens_per_iteration,
                "memory_bytes": need.memory,
                "target": facts.name,
                "schemes": {
                    scheme: {"flash_bytes": size.flash_bytes, "ram_bytes": size.ram_bytes, "fits": not size.complaint}
                    for scheme, size in sizes.items()
                },
            }
        )
        return 0
    trained = "" if need.trained == need.parameters else f", {need.trained:,} of them trained"
    say(f"parameters  {need.parameters:,}{trained}")
    say(f"tokens      {need.tokens_per_iteration:,} an iteration")
    say(
        f"memory      {kib(need.memory)}: weights {need.weights:,}, gradients {need.gradients:,},"
        f" optimiser {need.optimizer:,}, activations {need.activations:,}"
    )
    for scheme, size in sizes.items():
        without = "" if vocabulary else " and the tokenizer's tables"
        say(f"{scheme} on {facts.name}: flash {kib(size.flash_bytes)}{without}, RAM {kib(size.ram_bytes)}")
        if size.complaint is not None:
            say(f"  does not fit: {size.complaint.message}")
            say(f"  try: {size.complaint.hint}")
    return 0
