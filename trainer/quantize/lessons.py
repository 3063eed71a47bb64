"""The texts of distillation: for training, for calibration, and held out; and the share of the divergence for each."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from .calibration import BATCH, spread_over
from .course import MOST_CALIBRATED

_MOST_HELD_OUT = 8


@dataclass(frozen=True)
class Lesson:
    """Sequences of one batch, with the weight of their divergence."""

    tokens: Tensor
    """Tokens [B, T]."""
    teacher_weight: float
    """The share of the loss that is the divergence from the float32 model; the rest is cross-entropy with the text."""


@dataclass(frozen=True)
class Texts:
    """Batches of tokens [B, T]: of the given text, and of texts that the model wrote itself."""

    given: list[Tensor]
    written: list[Tensor]

    @property
    def usual(self) -> list[Tensor]:
        """The batches that the model is measured on: of the given text if there is one, else of its own texts."""
        return self.given or self.written

    def calibration(self) -> list[Tensor]:
        """The batches for rounding the model before distillation."""
        return spread_over(self.usual, MOST_CALIBRATED // BATCH)

    def lessons(self, teacher_weight: float) -> tuple[list[Lesson], list[Lesson]]:
        """The lessons for training, and the held-out lessons, which come from the usual batches.

        The share of the divergence from the float32 model is `teacher_weight` on the given text, and 1 on texts that
        the model wrote, because their tokens are its own samples.
        """
        held_out = spread_over(self.usual, min(_MOST_HELD_OUT, held_out_batches(len(self.usual))))
        taken = {id(batch) for batch in held_out}

        def learned(batches: list[Tensor], weight: float) -> list[Lesson]:
            return [Lesson(batch, weight) for batch in batches if id(batch) not in taken]

        usual_weight = teacher_weight if self.given else 1.0
        lessons = [*learned(self.given, teacher_weight), *learned(self.written, 1.0)]
        return lessons, [Lesson(batch, usual_weight) for batch in held_out]


def held_out_batches(batches: int) -> int:
    """How many of `batches` are held out: an eighth, but at least one when there are two or more."""
    return max(batches // 8, min(batches - 1, 1))
