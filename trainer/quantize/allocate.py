"""How many bits each matrix gets, under a budget of flash or of bits a weight.

What a matrix suffers is measured: the divergence from the float32 model when it alone has so few bits. The sum over
matrices stands for their common effect, as in HAWQ-V2 (Dong et al., 2020, arXiv:1911.03852); which choice has the
least sum is a knapsack problem, with one of several things to be taken of each kind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from llgen.codegen.errors import ExitCode, LlgenError
from llgen.codegen.estimate import estimate
from llgen.codegen.kernels import select
from llgen.codegen.matrix import IntMatrix
from llgen.codegen.quantize import QuantModel
from llgen.codegen.sizes import matrix_sizes
from llgen.targets.schema import Target

from .folded import FoldedLlama, Matrices
from .imitation import Head, imitation_loss

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


Variant = tuple[str, int]
"""A matrix by its name, in so many bits."""


def within(
    budget: Budget,
    models: Mapping[int, QuantModel],
    sensitivity: Callable[[Mapping[Variant, IntMatrix]], Mapping[Variant, float]],
) -> dict[str, int]:
    """Bits for every matrix, so that the budget is kept; `models` are the whole model in 8 bits, and in fewer.

    `sensitivity` is asked for what some matrices in fewer bits cost. Raises LlgenError (does not fit) when even the
    fewest bits exceed the budget.
    """
    whole = models[8]
    sizes = {bits: budget.sizes(model) for bits, model in models.items()}
    variants = {
        (name, bits): matrix
        for bits, model in models.items()
        for name, matrix in model.integer_matrices().items()
        if sizes[bits][name] < sizes[8][name]
    }
    savings = {(name, bits): sizes[8][name] - sizes[bits][name] for name, bits in variants}
    excess = budget.excess(whole)
    if excess > _most(savings):
        raise budget.refusal(models[min(models)])
    chosen = dict.fromkeys(whole.matrices(), 8)
    return chosen if excess <= 0 else chosen | allocate(sensitivity(variants), savings, excess)


def sensitivities(
    model: FoldedLlama,
    exact: Matrices,
    eights: Mapping[str, IntMatrix],
    variants: Mapping[Variant, IntMatrix],
    batches: Sequence[Tensor],
    told: Callable[[int], None] = lambda matrices: None,
) -> dict[Variant, float]:
    """Nats a token that the model loses when one matrix goes from 8 bits to fewer, for all of `variants`."""
    whole = model.with_whole_vectors()
    base = {name: torch.from_numpy(matrix.dequantized().copy()) for name, matrix in eights.items()}
    tokens = [batch[:, : model.context] for batch in batches]
    result: dict[Variant, float] = {}
    with torch.inference_mode():
        wanted = [Head.of(model, each, exact) for each in tokens]

        def loss(matrices: Matrices) -> float:
            losses = [
                float(imitation_loss(Head.of(whole, each, matrices), head, each, weight=1.0))  # the divergence alone
                for each, head in zip(tokens, wanted, strict=True)
            ]
            return sum(losses) / len(losses)

        before = loss(base)
        for (name, bits), matrix in variants.items():
            after = loss({**base, name: torch.from_numpy(matrix.dequantized().copy())})
            result[name, bits] = max(after - before, 0.0)
            told(len(result))
    return result


def allocate(losses: Mapping[Variant, float], savings: Mapping[Variant, int], excess: int) -> dict[str, int]:
    """Bits of the matrices that get fewer than 8: at least `excess` is saved, at the least sum of losses.

    Dynamic programming over what is saved, in units so small that a matrix loses next to nothing by being counted in
    whole ones. Raises ValueError when the most that can be saved is too little.
    """
    if excess > _most(savings):
        raise ValueError(f"{_most(savings)} can be saved, not {excess}")
    names = sorted({name for name, _ in savings})
    unit = max(1, max(excess, 0) // _UNITS)
    needed = -(-max(excess, 0) // unit)
    # best[s]: the least sum of those considered so far that save s units or more; chosen[i][s]: bits of the i-th then.
    best = np.full(needed + 1, np.inf)
    best[0] = 0.0
    chosen = np.full((len(names), needed + 1), 8)
    for index, name in enumerate(names):
        without = best
        for bits in sorted(bits for other, bits in savings if other == name):
            with_it = without[_rest(needed, savings[name, bits] // unit)] + losses[name, bits]
            chosen[index] = np.where(with_it < best, bits, chosen[index])
            best = np.minimum(best, with_it)
    if not np.isfinite(best[needed]):
        # Only the most that all can save is enough, and in whole units not even that: what saves most comes last.
        return {name: bits for (name, bits), _ in sorted(savings.items(), key=lambda item: item[1])}
    result: dict[str, int] = {}
    left = needed
    for index in reversed(range(len(names))):
        name, bits = names[index], int(chosen[index][left])
        if bits != 8:
            result[name] = bits
            left = max(left - savings[name, bits] // unit, 0)
    return result


def _rest(needed: int, units: int) -> npt.NDArray[np.intp]:
    """What is left to be saved of 0 to `needed` units when so many are."""
    return np.maximum(np.arange(needed + 1) - units, 0)


def _most(savings: Mapping[Variant, int]) -> int:
    """What is saved when every matrix has the bits that save most."""
    most: dict[str, int] = {}
    for (name, _), saved in savings.items():
        most[name] = max(most.get(name, 0), saved)
    return sum(most.values())
