"""A model in two minutes: made-up stories, a tokenizer of their words, 260K parameters."""

from __future__ import annotations

import time
from pathlib import Path

from llgen.codegen.config import ModelConfig

from .config import TrainConfig
from .export import export_run
from .prepare import prepare
from .progress import Reporter
from .train import clear_run, start_run

DEMO_MODEL = ModelConfig(
    dim=64, hidden_dim=172, n_layers=5, n_heads=8, n_kv_heads=4, head_dim=8, vocab_size=512, max_seq_len=256
)
"""The widths of the smallest published TinyStories model, 260K parameters; a made-up story has some 240 tokens."""
_STORIES = 12_000
_LEAST_SECONDS = 1.0


def train_demo(directory: Path, seconds: float, reporter: Reporter, seed: int = 1) -> Path:
    """Train a story teller in about `seconds`, and return its model directory (`directory`/model).

    A run that stands in `directory`/run from an earlier demo is replaced.
    """
    started = time.monotonic()
    run = directory / "run"
    clear_run(run)
    vocabulary, dataset = prepare(
        None, DEMO_MODEL.vocab_size, DEMO_MODEL.max_seq_len, reporter, stories=_STORIES, seed=seed
    )
    reporter.stage(f"training {DEMO_MODEL.parameter_count:,} parameters on {len(dataset.train):,} tokens")
    left = max(_LEAST_SECONDS, seconds - (time.monotonic() - started))
    config = TrainConfig(DEMO_MODEL, max_seconds=left, batch_size=4, learning_rate=1e-2, seed=seed)
    start_run(run, config, dataset, vocabulary, reporter)
    return export_run(run, directory / "model")
