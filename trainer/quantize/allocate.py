"""Which matrices get 8 bits and which 4, under a budget of flash or of bits a weight.

What a matrix suffers is measured: the divergence from the float32 model when it alone has 4 bits. The sum over
matrices stands for their common effect, as in HAWQ-V2 (Dong et al., 2020, arXiv:1911.03852); which choice has the
least sum is a knapsack problem.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from llgen.codegen.errors import ExitCode, LlgenError
from llgen.codegen.estimate import estimate
from llgen.codegen.kernels import select
from llgen.codegen.matrix import IntMatrix
from llgen.codegen.quantize import QuantModel
from llgen.codegen.sizes import matrix_sizes
from llgen.targets.schema import Target

from ..objective import divergence
from .folded import FoldedLlama, Matrices

_UNITS = 4000
"""Into which the knapsack divides what is to be saved."""


class Budget(Protocol):
    """What a model may take, in some unit."""

    def excess(self, model: QuantModel) -> int:
        """How much more than allowed `model` takes."""

    def sizes(self, model: QuantModel) -> Mapping[str, int]:
        """What each matrix takes."""

    def refusal(self, least: QuantModel) -> LlgenError:
        """Why even `least`, the smallest model there is, does not do."""


@dataclass(frozen=True)
class FlashBudget:
    """Bytes of flash on a target: weights, tables and room for code."""

    limit: int
    target: Target

    def excess(self, model: QuantModel) -> int:
        return estimate(model, self.target).flash_bytes - self.limit

    def sizes(self, model: QuantModel) -> Mapping[str, int]:
        return matrix_sizes(model, select(self.target.isa))

    def refusal(self, least: QuantModel) -> LlgenError:
        needed = self.limit + self.excess(least)
        return LlgenError(
            f"'{least.name}' needs {needed:,} bytes of flash with 4 bits for every matrix that may have them;"
            f" --flash allows {self.limit:,}",
            f"--flash {needed}, or a smaller model",
            ExitCode.DOES_NOT_FIT,
        )


@dataclass(frozen=True)
class BitsBudget:
    """Bits a weight on average, scales and multipliers included."""

    limit: float

    def excess(self, model: QuantModel) -> int:
        weights = sum(rows * columns for rows, columns in (matrix.shape for matrix in model.matrices().values()))
        return sum(self.sizes(model).values()) - int(self.limit * weights)

    def sizes(self, model: QuantModel) -> Mapping[str, int]:
        return {name: matrix.stored_bits for name, matrix in model.matrices().items()}

    def refusal(self, least: QuantModel) -> LlgenError:
        needed = least.bits_a_weight
        return LlgenError(
            f"'{least.name}' has {needed:.3f} bits a weight with 4 bits for every matrix that may have them;"
            f" --bits allows {self.limit:g}",
            f"--bits {needed + 0.005:.2f}, or leave --bits out",
            ExitCode.DOES_NOT_FIT,
        )


def within(
    budget: Budget,
    eights: QuantModel,
    fours: QuantModel,
    sensitivity: Callable[[Mapping[str, IntMatrix]], Mapping[str, float]],
) -> set[str]:
    """The matrices that are to be those of `fours`, the others those of `eights`, so that the budget is kept.

    `sensitivity` is asked for what each of some matrices of `fours` costs. Raises LlgenError (does not fit) when
    `fours` as a whole exceeds the budget.
    """
    excess = budget.excess(eights)
    large, small = budget.sizes(eights), budget.sizes(fours)
    savings = {name: large[name] - small[name] for name in small if large[name] > small[name]}
    if excess > sum(savings.values()):
        raise budget.refusal(fours)
    if excess <= 0:
        return set()
    candidates = {name: matrix for name, matrix in fours.integer_matrices().items() if name in savings}
    return allocate(sensitivity(candidates), savings, excess)


def sensitivities(
    model: FoldedLlama,
    exact: Matrices,
    eights: Mapping[str, IntMatrix],
    fours: Mapping[str, IntMatrix],
    batches: Sequence[Tensor],
    told: Callable[[int], None] = lambda matrices: None,
) -> dict[str, float]:
    """Nats a token that the model loses when one matrix goes from 8 bits to 4, for every matrix in `fours`."""
    whole = FoldedLlama(model.config, model.final_gain, whole=True, whole_cache=False, context=model.context)
    base = {name: torch.from_numpy(matrix.dequantized().copy()) for name, matrix in eights.items()}
    tokens = [batch[:, : model.context] for batch in batches]
    result: dict[str, float] = {}
    with torch.inference_mode():
        wanted = [model(each, exact) for each in tokens]

        def loss(matrices: Matrices) -> float:
            losses = [
                float(divergence(whole(each, matrices), logits, 1.0))
                for each, logits in zip(tokens, wanted, strict=True)
            ]
            return sum(losses) / len(losses)

        before = loss(base)
        for name, matrix in fours.items():
            after = loss({**base, name: torch.from_numpy(matrix.dequantized().copy())})
            result[name] = max(after - before, 0.0)
            told(len(result))
    return result


def allocate(sensitivity: Mapping[str, float], savings: Mapping[str, int], excess: int) -> set[str]:
    """The matrices that get 4 bits: at least `excess` is saved, at the least sum of sensitivities.

    Dynamic programming over what is saved, in units so small that a matrix loses next to nothing by being counted in
    whole ones. Raises ValueError when all of them together save too little.
    """
    if excess > sum(savings.values()):
        raise ValueError(f"{sum(savings.values())} can be saved, not {excess}")
    names = sorted(savings)
    unit = max(1, max(excess, 0) // _UNITS)
    needed = -(-max(excess, 0) // unit)
    # best[s]: the least sum of those considered so far that save s units or more; chosen[i][s]: whether with i or not.
    best = np.full(needed + 1, np.inf)
    best[0] = 0.0
    chosen = np.zeros((len(names), needed + 1), bool)
    for index, name in enumerate(names):
        before = np.maximum(np.arange(needed + 1) - savings[name] // unit, 0)
        with_it = best[before] + sensitivity[name]
        chosen[index] = with_it < best
        best = np.where(chosen[index], with_it, best)
    if not np.isfinite(best[needed]):
        return set(names)  # only all of them save enough, and in whole units not even they
    result: set[str] = set()
    left = needed
    for index in reversed(range(len(names))):
        if chosen[index][left]:
            result.add(names[index])
            left = max(left - savings[names[index]] // unit, 0)
    return result
