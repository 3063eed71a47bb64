"""How a model is trained, checked once."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llgen.codegen.config import ModelConfig
from llgen.codegen.errors import LlgenError


@dataclass(frozen=True)
class TrainConfig:
    """The model's shape and the optimiser's course; sequences grow to `model.max_seq_len`.

    Training ends after `iterations` or after `max_seconds`: exactly one of them is given.
    Raises LlgenError when a value is out of range.
    """

    model: ModelConfig
    iterations: int | None = None
    max_seconds: float | None = None
    """Wall time; the learning rate then follows the clock, so that it has come down when time is up."""
    batch_size: int = 16
    """Sequences of full length that go through the model at once; of shorter ones, as many more."""
    accumulation: int = 1
    """Batches whose gradients are averaged before one step."""
    learning_rate: float = 8e-3
    """The peak, reached after `warmup` iterations; see `usual_learning_rate`."""
    final_learning_rate: float = 0.0
    """Where the cosine ends, as a share of the peak."""
    warmup: int = 50
    """Iterations in which the learning rate rises from zero."""
    growth: float = 0.5
    """The share of training in which sequences are still shorter; see `sequence_length`."""
    weight_decay: float = 0.1
    """On matrices; gains do not decay."""
    beta1: float = 0.9
    beta2: float = 0.95
    clip_norm: float = 1.0
    """Longest gradient; longer ones are scaled down to it."""
    seed: int = 1
    eval_interval: int = 500
    """Iterations between two evaluations, each of which also writes a checkpoint."""
    eval_batches: int = 16

    def __post_init__(self) -> None:
        if (self.iterations is None) == (self.max_seconds is None):
            raise LlgenError("training needs one end: a number of iterations, or a time", "--iterations or --minutes")
        at_least = {"batch_size": 1, "accumulation": 1, "warmup": 0, "eval_interval": 1, "eval_batches": 1, "seed": 0}
        if self.iterations is not None:
            at_least["iterations"] = 1
        for name, low in at_least.items():
            if getattr(self, name) < low:
                raise LlgenError(f"{name} is {getattr(self, name)}; it must be at least {low}")
        for name in ("learning_rate", "clip_norm", "max_seconds"):
            value = getattr(self, name)
            if value is not None and not 0.0 < value < float("inf"):
                raise LlgenError(f"{name} is {value}; it must be above 0")
        for name in ("final_learning_rate", "growth", "weight_decay", "beta1", "beta2"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise LlgenError(f"{name} is {getattr(self, name)}; it must lie between 0 and 1")

    def sequence_length(self, progress: float) -> int:
        """A quarter of the context at first, then half of it, then, from `growth` on, all.

        Short sequences cost less a token and, in the beginning, teach more (Li, Zhang and He, 2022, arXiv:2108.06084).
        """
        if progress >= self.growth:
            return self.model.max_seq_len
        return max(2, self.model.max_seq_len // (4 if progress < self.growth / 2 else 2))

    def save(self, path: Path) -> None:
        """Write as JSON."""
        path.write_text(json.dumps(dataclasses.asdict(self), indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> TrainConfig:
        """Read what `save` wrote; raises LlgenError when it is something else."""
        try:
            raw: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            return cls(model=ModelConfig(**raw.pop("model")), **raw)
        except FileNotFoundError as error:
            raise LlgenError(f"'{path.parent}' is not a training run: it has no {path.name}") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise LlgenError(f"'{path}' is not a training configuration: {error}", "start a new run") from error


def usual_learning_rate(dim: int) -> float:
    """A peak that suits a model of this width: the wider, the smaller (as in muP: Yang et al., 2022, arXiv:2203.03466).

    Anchored at what was measured best for dim 64.
    """
    return 8e-3 * 64 / max(dim, 32)
