"""Making a model directory, which the other commands read, from a training run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from llgen.codegen.formats.adopt import adopt, claim_of
from llgen.codegen.formats.hf.directory import save_checkpoint
from llgen.codegen.formats.hf.training_record import RECORD, pack_reading
from llgen.codegen.model.checkpoint import Checkpoint
from llgen.codegen.model.sentence_piece import SentencePiece
from llgen.errors import LlgenError
from llgen.paths import Pathlike
from llgen.shown import shown

from .adapters import add_adapters, merge_adapters
from .checkpoint import BEST, read_checkpoint
from .config import TrainConfig
from .model import Llama
from .prepare import reading


def load_run(run: Pathlike) -> Checkpoint:
    """The model of a run's lowest held-out loss, with adapters merged, and its tokenizer.

    Raises LlgenError when `run` is not a training run, was never evaluated, or has weights that are not finite.
    """
    run = Path(run)
    config = TrainConfig.load(run / "config.json")
    path = run / BEST
    if not path.exists():
        raise LlgenError(
            f"'{run}' was not evaluated yet, so there is no best model",
            "continue the training; evaluation.interval sets when it is evaluated",
        )
    model = Llama(config.model.resolved())
    if config.start.lora:
        add_adapters(model, config.start.lora)
    try:
        model.load_state_dict(read_checkpoint(path)["model"])
    except (KeyError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        raise LlgenError(f"'{path}' does not fit its config.json: {shown(reason, 200)}", "start a new run") from error
    merge_adapters(model)
    vocabulary = SentencePiece.from_file(run / "tokenizer.model")
    checkpoint = model.to_checkpoint(run.resolve().name, vocabulary)
    own, _ = adopt(checkpoint.config, vocabulary, [claim_of(vocabulary, "tokenizer.model")])
    return replace(checkpoint, config=own)


def export_run(run: Pathlike, directory: Pathlike) -> Path:
    """Write a run's best model as a model directory; returns the directory."""
    run = Path(run)
    directory = Path(directory)
    record = reading(TrainConfig.load(run / "config.json"), run)
    save_checkpoint(load_run(run), directory, {RECORD: pack_reading(record)})
    return directory
