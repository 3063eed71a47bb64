"""PyTorch as an engine: the trainer's model, eager, with a cache of keys and values."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

from .engine import Engine, Work


def missing() -> str | None:
    """Why PyTorch cannot be measured here, with the command that installs it; None when it can."""
    return None if find_spec("torch") else "'torch' is not installed; pip install 'llgen[train]'"


def torch_engine(model: Path, work: Work, threads: int) -> Engine:
    """PyTorch on a model directory. Only the process that does the work imports torch."""
    words = [sys.executable, "-m", "llgen.trainer.inference_benchmark", str(model), work.kind, str(work.positions)]
    return Engine("torch", "f32", threads, work, lambda repeats: [*words, str(repeats), str(threads)])
