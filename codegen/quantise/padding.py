"""Rows of a model that are no tokens, and that no choice falls on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..contract.numerics import Array
from .quantize import QuantModel


@dataclass(frozen=True)
class Padding:
    """Where padding lies in a vocabulary."""

    last: int
    """All rows from here on are padding."""
    holes: tuple[range, ...]
    """Those before."""

    @classmethod
    def of(cls, model: QuantModel) -> Padding:
        """A model's padding, which its tokenizer names."""
        return cls.among(model.padding, model.config.vocab_size)

    @classmethod
    def among(cls, rows: Sequence[int], size: int) -> Padding:
        """The padding `rows`, in ascending order, of a vocabulary of `size`."""
        runs: list[range] = []
        for row in rows:
            if runs and runs[-1].stop == row:
                runs[-1] = range(runs[-1].start, row + 1)
            else:
                runs.append(range(row, row + 1))
        behind = runs.pop() if runs and runs[-1].stop == size else range(size, size)
        return cls(behind.start, tuple(runs))


def likeliest(logits: Array, padding: Sequence[int]) -> int:
    """The token of the largest of `logits` [vocab_size], the lowest of several, that is no padding."""
    if padding:
        logits = logits.copy()
        logits[list(padding)] = -np.inf
    return int(np.argmax(logits))
