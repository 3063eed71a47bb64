"""What a benchmark is about: a model directory, or a shape and random weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from ..build import DIGEST_POSITIONS
from ..checkpoint import Checkpoint, load_checkpoint
from ..config import ModelConfig
from ..pipeline import quantized
from ..quantize import QuantModel
from ..quantized import is_quantized, load_quantized, read_model
from .shapes import random_model, shape_named

_FEW_POSITIONS = 4
"""For weights that nobody keeps: the reference needs seconds for a position of a large model."""
_SMALL = 5_000_000
"""Products a token; models of fewer take 200 positions in a moment, and there attention counts as well."""


@dataclass(frozen=True)
class Subject:
    """One model, in whatever numbers an engine wants."""

    name: str
    config: ModelConfig
    context: int
    schemes: tuple[str, ...]
    """Those of llgen's engine when none is asked for."""
    model: Callable[[str], QuantModel]
    """Makes the model in a scheme of llgen's."""
    checkpoint: Callable[[], Checkpoint]
    """Makes the float32 model that other engines take."""
    digest_positions: int = DIGEST_POSITIONS
    """That the digests of its programs cover."""
    note: str | None = None
    """What a reader of the figures should know."""

    @property
    def products(self) -> int:
        """Multiply-accumulates of a token's matrix products, the classifier among them and attention not."""
        return self.prompt_products(1)

    def prompt_products(self, positions: int) -> int:
        """Those of a prompt, of which the last position alone meets the classifier."""
        c = self.config
        layer = c.dim * (2 * c.q_dim + 2 * c.kv_dim + 3 * c.hidden_dim)
        return positions * c.n_layers * layer + c.vocab_size * c.dim

    def usual_positions(self, *, timed: bool) -> int:
        """How many to decode when nobody says it; fewer in an emulator."""
        return min(200 if timed and self.products < _SMALL else 64, self.context)


def subject_of_directory(directory: Path, kv: str | None, context: int | None) -> Subject:
    """The model of a directory. Raises LlgenError as `read_model` does.

    Integers without the floats that they were made from leave other engines random weights of the same shape.
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
            note=f"'{directory}' holds integers alone: other engines get random weights of the same shape",
        )
    checkpoint = load_checkpoint(directory)
    return _subject(checkpoint, kv, context)


def subject_of_shape(shape: str, kv: str | None, context: int | None) -> Subject:
    """Random weights of a shape of SHAPES; raises UsageError for a name that is none."""
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
