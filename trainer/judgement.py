"""What the held-out losses tell about a run: which weights to keep, whether it overfits, whether it must end.

The loss of chance is ln(tokens) nats: guessing, with all tokens equally likely. A model may do worse than chance at
first: a fine-tuned model knows another text, and a new model may start badly. So a held-out loss far above chance ends
a run only if the training loss is below chance, if the held-out loss does not fall, or at the end.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from llgen.errors import LlgenError

FAR_ABOVE = 1.25
"""Multiple of the loss of chance; a model that has learned anything useful stays below it."""
_RISEN = 1.05
"""Multiple of the lowest held-out loss; two evaluations of similar weights differ by less."""


@dataclass(frozen=True)
class Kept:
    """Facts about the weights in `best.pt`, the best so far."""

    loss: float = math.inf
    """Held-out loss in nats per token; infinite before the first evaluation."""
    length: int = 0
    """Positions of each sequence of the evaluation."""
    iteration: int = 0

    def beside(self, other: Kept) -> Kept:
        """The better of both: longer sequences count first, then the lower loss."""
        return other if (-other.length, other.loss) < (-self.length, self.loss) else self


class WorseThanChance(LlgenError):
    """A run was ended because its model predicts held-out text worse than guessing.

    `kept` describes the best weights of the run; `useful` tells whether they were better than guessing.
    """

    def __init__(self, message: str, hint: str, kept: Kept, chance: float) -> None:
        super().__init__(message, hint)
        self.kept, self.useful = kept, kept.loss <= FAR_ABOVE * chance


def require_better_than_chance(
    held_out: float, before: float | None, trained: float, vocab_size: int, kept: Kept, *, ends: bool
) -> None:
    """Raise WorseThanChance for a held-out loss far above chance, unless it may still fall.

    `before` is the held-out loss of the previous evaluation, None at the first. `trained` is the mean training loss
    since then, NaN when it is unknown. `ends` tells that no other evaluation follows.
    """
    chance = math.log(vocab_size)
    if not held_out > FAR_ABOVE * chance:
        return
    told = f"the held-out loss is {held_out:.3f} nats/token; guessing among {vocab_size:,} tokens has {chance:.3f}"
    if trained < chance:
        raise WorseThanChance(
            f"{told}, and the training loss is {trained:.3f}: the model learns its text by heart and nothing else",
            "--separator line, if each line is a document; else more text, or fewer iterations",
            kept,
            chance,
        )
    if ends or (before is not None and held_out >= before):
        raise WorseThanChance(
            f"{told}: the model is worse than guessing",
            "a lower optimizer.learning_rate, or more iterations",
            kept,
            chance,
        )


def course(held_out: float, iteration: int, kept: Kept) -> str:
    """A message about an evaluation: its loss, and when an earlier one was lower, which weights are kept."""
    told = f"held-out loss {held_out:.3f} nats/token"
    if kept.iteration == iteration:
        return told
    return f"{told}, above the {kept.loss:.3f} of iteration {kept.iteration:,}, whose weights are kept"


def has_risen(held_out: float, kept: Kept) -> bool:
    """Whether the last held-out loss is clearly above the lowest, so that more training made the model worse."""
    return held_out > _RISEN * kept.loss
