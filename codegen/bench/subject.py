"""The model of a benchmark: from a model directory, or a shape with random weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from ..build.folder import DIGEST_POSITIONS
from ..formats.hf.directory import load_checkpoint
from ..model.checkpoint import Checkpoint
from ..model.config import ModelConfig
from ..quantise.quantize import QuantModel, quantized
from ..quantise.quantized import is_quantized, load_quantized, read_model
from .shapes import random_model, shape_named

_FEW_POSITIONS = 4
"""Positions of the digest for random weights: the reference needs seconds for each position of a large model."""
_SMALL = 5_000_000
"""Products per token below which 200 positions take a moment; with that length, attention shows as well."""


@dataclass(frozen=True)
class Subject:
    """One model, in the number format that an engine needs."""

    name: str
    config: ModelConfig
    context: int
    schemes: tuple[str, ...]
    """Schemes that are measured when the user names none."""
    model: Callable[[str], QuantModel]
    """Makes the model in a scheme of llgen."""
    checkpoint: Callable[[], Checkpoint]
    """Makes the float32 model that other engines read."""
    digest_positions: int = DIGEST_POSITIONS
    """Number of positions that the digests of its programs cover."""
    note: str | None = None
    """A remark for the reader of the results."""

    @property
    def products(self) -> int:
        """Multiply-accumulates of a token's matrix products, including the classifier, without attention."""
        return self.prompt_products(1)

    def prompt_products(self, positions: int) -> int:
        """Multiply-accumulates of a prompt's matrix products; only its last position needs the classifier."""
        c = self.config
        layer = c.dim * (2 * c.q_dim + 2 * c.kv_dim + 3 * c.hidden_dim)
        return positions * c.n_layers * layer + c.vocab_size * c.dim

    def usual_positions(self, *, timed: bool) -> int:
        """Default number of positions to decode; smaller in an emulator."""
        return min(200 if timed and self.products < _SMALL else 64, self.context)


def subject_of_directory(directory: Path, kv: str | None, context: int | None) -> Subject:
    """The model of a directory. Raises LlgenError as `read_model` does.

    A directory of integers lacks the floats they were made from: other engines get random weights of the same shape.
    """
    if is_quantized(directory):
        model = load_quantized(directory, kv).for_context(context)
        return Subject(
            name=model.name,
            config=model.config,
            context=model.context,
            schemes=(model.scheme,),
            model=lambda scheme: read_model(directory, scheme, kv, context),
            checkpoint=lambda: random_model(model.config, model.name),
            note=f"'{directory}' holds only integers: other engines get random weights of the same shape",
        )
    checkpoint = load_checkpoint(directory)
    return _subject(checkpoint, kv, context)


def subject_of_shape(shape: str, kv: str | None, context: int | None) -> Subject:
    """Random weights of a shape of SHAPES; raises UsageError for an unknown name."""
    subject = _subject(random_model(shape_named(shape), f"random_{shape.lower()}"), kv, context)
    return replace(subject, digest_positions=_FEW_POSITIONS)


def _subject(checkpoint: Checkpoint, kv: str | None, context: int | None) -> Subject:
    return Subject(
        name=checkpoint.name,
        config=checkpoint.config,
        context=context or checkpoint.config.max_seq_len,
        schemes=("f32",),
        model=lambda scheme: quantized(checkpoint, scheme, kv, context),
        checkpoint=lambda: checkpoint,
    )
