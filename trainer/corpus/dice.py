"""Chance for the story teller: the same everywhere, for ever.

Only `random.Random.random()` is used, which Python promises to keep for a given seed; `choice`, `shuffle` and the
like have changed between versions and may again.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Dice:
    """A seeded stream of choices."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def below(self, limit: int) -> int:
        """A whole number from 0 to limit - 1."""
        return int(self._random.random() * limit)

    def chance(self, probability: float) -> bool:
        return self._random.random() < probability

    def pick(self, options: Sequence[T]) -> T:
        return options[self.below(len(options))]

    def pick_other(self, options: Sequence[T], *taken: T) -> T:
        """One of the options that is none of those taken."""
        return self.pick([option for option in options if option not in taken])
