"""From a training run to a model directory, which every other part of llgen reads."""

from __future__ import annotations

from pathlib import Path

from llgen.codegen.checkpoint import Checkpoint, save_checkpoint
from llgen.codegen.errors import LlgenError
from llgen.codegen.vocabulary import Vocabulary

from .config import TrainConfig
from .model import Llama
from .train import read_checkpoint_file


def load_run(run: Path) -> Checkpoint:
    """The model that a run's last checkpoint holds, with its tokenizer.

    Raises LlgenError when `run` is not a training run, or its weights are not finite.
    """
    config = TrainConfig.load(run / "config.json")
    model = Llama(config.model)
    try:
        model.load_state_dict(read_checkpoint_file(run / "checkpoint.pt")["model"])
    except (KeyError, RuntimeError) as error:
        raise LlgenError(
            f"the checkpoint of '{run}' does not fit its config.json: {error}", "start a new run"
        ) from error
    return model.to_checkpoint(run.resolve().name, Vocabulary.from_file(run / "tokenizer.model"))


def export_run(run: Path, directory: Path) -> Path:
    """Write a run's model as a model directory, and return that."""
    save_checkpoint(load_run(run), directory)
    return directory
