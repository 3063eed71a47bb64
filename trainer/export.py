"""From a training run to a model directory, which every other part of llgen reads."""

from __future__ import annotations

from pathlib import Path

from llgen.codegen.checkpoint import Checkpoint, save_checkpoint
from llgen.codegen.errors import LlgenError
from llgen.codegen.vocabulary import Vocabulary

from .adapters import add_adapters, merge_adapters
from .checkpoint import read_checkpoint
from .config import TrainConfig
from .model import Llama
from .train import BEST


def load_run(run: Path) -> Checkpoint:
    """The best model of a run, by its held-out loss, with adapters merged, and its tokenizer.

    Raises LlgenError when `run` is not a training run, was never evaluated, or its weights are not finite.
    """
    config = TrainConfig.load(run / "config.json")
    path = run / BEST
    if not path.exists():
        raise LlgenError(
            f"'{run}' was not evaluated yet, so there is no best model", "train on; see evaluation.interval"
        )
    model = Llama(config.model.resolved())
    if config.start.lora:
        add_adapters(model, config.start.lora)
    try:
        model.load_state_dict(read_checkpoint(path)["model"])
    except (KeyError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        raise LlgenError(f"'{path}' does not fit its config.json: {reason}", "start a new run") from error
    merge_adapters(model)
    return model.to_checkpoint(run.resolve().name, Vocabulary.from_file(run / "tokenizer.model"))


def export_run(run: Path, directory: Path) -> Path:
    """Write a run's best model as a model directory, and return that."""
    save_checkpoint(load_run(run), directory)
    return directory
