"""`llgen train`: text, the user's or made up, becomes a model directory."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from llgen.codegen.errors import ExitCode, UsageError

from .options import answer, field_option, json_option, kib, need_torch, say, separator_option

if TYPE_CHECKING:  # training alone imports torch
    from llgen.trainer.config import TrainConfig
    from llgen.trainer.train import TrainResult

_DEFAULT_PRESET = "stories-260k"
_FOLDER = click.Path(path_type=Path)

# Options that are short for a setting.
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
@click.option("-o", "--output", type=_FOLDER, help="Folder of the run.  [required, but for --dry-run]")
@click.option("--preset", help=f"Settings to build on, by the size of the model.  [default: {_DEFAULT_PRESET}]")
@click.option("--data", help="Text, JSONL, a folder of them, gzip or zstd.  [default: stories made up by llgen]")
@field_option
@separator_option
@click.option("--tokenizer", help="A tokenizer.model.  [default: MODEL's, or one trained on the data]")
@click.option("--iterations", type=click.IntRange(min=1), help="Steps of the optimiser.")
@click.option("--minutes", type=click.FloatRange(min=0.0, min_open=True), help="Time to train, instead.")
@click.option("--from", "start", metavar="MODEL", help="A model directory to fine-tune.")
@click.option("--lora", type=click.IntRange(min=1), metavar="RANK", help="Fine-tune adapters, merged at the end.")
@click.option("--teacher", metavar="MODEL", help="A model directory to distil from.")
@click.option("--shard", is_flag=True, help="Under torchrun: divide the model among processes (FSDP).")
@click.option("--seed", type=click.IntRange(min=0), help="Of weights and batches.  [default: 1]")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Any other setting; may be repeated.")
@click.option("--stop-after", type=click.IntRange(min=1), metavar="N", help="End this call after N iterations.")
@click.option("--dry-run", is_flag=True, help="Say what it would take, and do nothing.")
@click.option("--target", default="cortex_m7", show_default=True, help="With --dry-run: where the model is to live.")
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
    """Train a model, as CONFIG, a TOML file, says, and write it to RUN/model.

    The same command goes on where Ctrl-C, or anything else, ended it, to the same losses. Several machines: the same
    command under torchrun. doc/training.md lists the settings.
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
    preset = preset or named
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
    from llgen.trainer.processes import leads
    from llgen.trainer.progress import ConsoleReporter
    from llgen.trainer.run import train

    result = train(run, asked, ConsoleReporter(), stop_after=stop_after)
    if not leads():
        return 0
    model = run / "model"
    if not result.interrupted:
        export_run(run, model)
    if as_json:
        answer(_as_json(result, run, model))
    _tell(result, run, model)
    return ExitCode.INTERRUPTED if result.interrupted and stop_after is None else 0


def _as_json(result: TrainResult, run: Path, model: Path) -> dict[str, object]:
    known = result.best_loss != float("inf")
    return {
        "run": str(run),
        "model": None if result.interrupted else str(model),
        "iterations": result.iteration,
        "held_out_loss": result.best_loss if known else None,
        "seconds": round(result.seconds, 3),
        "tokens_per_second": round(result.tokens_per_second, 1),
        "interrupted": result.interrupted,
    }


def _tell(result: TrainResult, run: Path, model: Path) -> None:
    if result.interrupted:
        say(f"stopped after iteration {result.iteration:,}; go on with the same command:")
        say("  " + shlex.join(["llgen", *sys.argv[1:]]))
        if "TORCHELASTIC_RUN_ID" in os.environ:
            say("by torchrun, with as many processes, as before")
        return
    say(
        f"held-out loss {result.best_loss:.3f} nats/token after {result.iteration:,} iterations"
        f" ({result.seconds:.0f} s, {result.tokens_per_second:,.0f} tokens/s)"
    )
    say(f"wrote {model}")
    say(f"next: llgen build {shlex.quote(str(model))} -o out")


def _dry_run(asked: TrainConfig, target: str, as_json: bool) -> int:
    from llgen.codegen.estimate import blank_model
    from llgen.codegen.estimate import estimate as estimate_target
    from llgen.codegen.fold import SCHEMES
    from llgen.codegen.vocabulary import Vocabulary
    from llgen.targets.schema import load_target
    from llgen.trainer.estimate import estimate
    from llgen.trainer.prepare import given_tokenizer
    from llgen.trainer.start import with_shape_of_start

    asked = with_shape_of_start(asked)
    facts, need = load_target(target), estimate(asked)
    tokenizer = given_tokenizer(asked)
    vocabulary = None if tokenizer is None else Vocabulary.from_file(tokenizer)
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
