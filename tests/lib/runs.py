"""Training runs that are small enough for a test."""

from __future__ import annotations

import json
import os
import signal
from itertools import islice
from pathlib import Path
from typing import Any

from llgen.trainer.config import TrainConfig
from llgen.trainer.corpus import stories
from llgen.trainer.layers import layered
from llgen.trainer.progress import Silent
from llgen.trainer.tokenizer import train_tokenizer

STORIES = list(islice(stories(1), 100))
SHAPE = {
    "dim": 16,
    "hidden_dim": 24,
    "n_layers": 2,
    "n_heads": 2,
    "n_kv_heads": 1,
    "vocab_size": 320,
    "max_seq_len": 32,
}
TINY = layered([{"model": SHAPE}]).model.resolved()
VOCABULARY = train_tokenizer(STORIES, TINY.vocab_size)


def tiny_config(*layers: dict[str, Any]) -> TrainConfig:
    """Twenty iterations on a hundred made-up stories, on one core; `layers` override."""
    base = {
        "model": SHAPE,
        "data": {"stories": len(STORIES)},
        "batch": {"sequences": 4},
        "optimizer": {"learning_rate": 0.02},
        "schedule": {"iterations": 20, "warmup": 4},
        "evaluation": {"interval": 7, "batches": 2, "prompt": None},
        "hardware": {"replicas": 1},
    }
    return layered([base, *layers])


def metrics(run: Path) -> list[dict[str, Any]]:
    """The lines of a run."""
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def course(run: Path) -> list[list[object]]:
    """What must repeat to the last bit: all but time and memory."""
    return [[line["iter"], line["loss"], line["lr"], line.get("held_out_loss")] for line in metrics(run)]


class StopAt(Silent):
    """Presses Ctrl-C in an iteration."""

    def __init__(self, iteration: int) -> None:
        self.iteration = iteration

    def step(self, progress: float, iteration: int, loss: float, tokens_per_second: float) -> None:
        if iteration == self.iteration:
            os.kill(os.getpid(), signal.SIGINT)
