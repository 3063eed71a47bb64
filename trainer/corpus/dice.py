"""Random choices for stories, the same on every platform and in every version of Python.

Only `random.Random.random()` is used, because Python guarantees its values for a given seed. `choice`, `shuffle` and
other methods have changed between versions.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Dice:
    """A sequence of random choices from a seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def below(self, limit: int) -> int:
        """An integer from 0 to limit - 1."""
        return int(self._random.random() * limit)

    def chance(self, probability: float) -> bool:
        return self._random.random() < probability

    def pick(self, options: Sequence[T]) -> T:
        return options[self.below(len(options))]

    def pick_other(self, options: Sequence[T], *taken: T) -> T:
        """One of the options, except those in `taken`."""
        return self.pick([option for option in options if option not in taken])
