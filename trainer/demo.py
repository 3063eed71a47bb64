"""The demo: a model of 143 thousand parameters, trained on made-up stories in about two minutes."""

from __future__ import annotations

import time
from pathlib import Path

from llgen.sole_writer import sole_writer

from .config import TrainConfig
from .export import export_run
from .layers import layered, read_preset
from .prepare import prepare
from .progress import Reporter
from .run import clear_run, train

_LEAST_SECONDS = 1.0


def demo_config(seconds: float, seed: int = 1) -> TrainConfig:
    """The preset `demo`, trained for `seconds`."""
    return layered([read_preset("demo"), {"seed": seed, "schedule": {"minutes": seconds / 60.0}}])


def train_demo(directory: Path, seconds: float, reporter: Reporter, seed: int = 1) -> Path:
    """Train a story teller in about `seconds`; returns its model directory, `directory`/model.

    A run in `directory`/run from an earlier demo is replaced.
    """
    started = time.monotonic()
    run = directory / "run"
    with sole_writer(run):
        clear_run(run)
        prepare(demo_config(seconds, seed), run, reporter)
        left = max(_LEAST_SECONDS, seconds - (time.monotonic() - started))
        train(run, demo_config(left, seed), reporter)
        return export_run(run, directory / "model")
