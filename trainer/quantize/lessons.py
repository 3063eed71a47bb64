"""What a model learns from, whose opinion of it counts, and what is held out."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from .calibration import BATCH, spread_over
from .course import MOST_CALIBRATED

_MOST_HELD_OUT = 8


@dataclass(frozen=True)
class Lesson:
    """Sequences that are learned from together."""

    tokens: Tensor
    """[B, T]"""
    teacher_weight: float
    """The share of the loss that is the divergence from the float32 model; the rest is cross-entropy with the text."""


@dataclass(frozen=True)
class Texts:
    """Batches of tokens [B, T]: of a text that was given, and of what the model wrote itself."""

    given: list[Tensor]
    written: list[Tensor]

    @property
    def usual(self) -> list[Tensor]:
        """What the model is measured on: what was given, rather than what it makes of that."""
        return self.given or self.written

    def calibration(self) -> list[Tensor]:
        """Those that decide how the model is rounded before it learns."""
        return spread_over(self.usual, MOST_CALIBRATED // BATCH)

    def lessons(self, teacher_weight: float) -> tuple[list[Lesson], list[Lesson]]:
        """Those to learn from, and those held out of the usual text; the float32 model's opinion of the given counts
        `teacher_weight`, and of what it wrote itself there is no other."""
        held_out = spread_over(self.usual, min(_MOST_HELD_OUT, held_out_batches(len(self.usual))))
        taken = {id(batch) for batch in held_out}

        def learned(batches: list[Tensor], weight: float) -> list[Lesson]:
            return [Lesson(batch, weight) for batch in batches if id(batch) not in taken]

        usual_weight = teacher_weight if self.given else 1.0
        lessons = [*learned(self.given, teacher_weight), *learned(self.written, 1.0)]
        return lessons, [Lesson(batch, usual_weight) for batch in held_out]


def held_out_batches(batches: int) -> int:
    """How many of the batches are held out: an eighth, but one at least, where there is more than one."""
    return max(batches // 8, min(batches - 1, 1))
