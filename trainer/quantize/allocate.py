"""How many bits each matrix gets, under a budget of flash or of bits per weight.

The loss of a matrix is measured: the divergence from the float32 model when only this matrix has fewer bits. The sum of
the losses over all matrices approximates their combined effect, as in HAWQ-V2 (Dong et al., 2020, arXiv:1911.03852).
Choosing bits with the smallest sum is a multiple-choice knapsack problem: one number of bits for each matrix.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from llgen.codegen.contract.matrix import IntMatrix
from llgen.codegen.pack.estimate import estimate
from llgen.codegen.plan.sizes import matrix_sizes
from llgen.codegen.quantise.quantize import QuantModel
from llgen.errors import ExitCode, LlgenError
from llgen.targets.instruction_sets import select
from llgen.targets.schema import Target

from .folded import FoldedLlama, Matrices
from .imitation import Head, imitation_loss

_UNITS = 4000
"""Number of units into which the knapsack divides the bytes or bits to save."""


class Budget(Protocol):
    """A limit on the size of a model, in bytes or bits."""

    def excess(self, model: QuantModel) -> int:
        """The size of `model` minus the limit."""

    def sizes(self, model: QuantModel) -> Mapping[str, int]:
        """The size of each matrix, by name."""

    def refusal(self, least: QuantModel) -> LlgenError:
        """The error when even `least`, the smallest possible model, is too large."""


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
            {"region": "flash", "needed": needed, "available": self.limit},
        )


@dataclass(frozen=True)
class BitsBudget:
    """Average bits per weight, including scales and multipliers."""

    limit: float

    def excess(self, model: QuantModel) -> int:
        weights = sum(rows * columns for rows, columns in (matrix.shape for matrix in model.matrices.values()))
        return sum(self.sizes(model).values()) - int(self.limit * weights)

    def sizes(self, model: QuantModel) -> Mapping[str, int]:
        return {name: matrix.stored_bits for name, matrix in model.matrices.items()}

    def refusal(self, least: QuantModel) -> LlgenError:
        needed = least.bits_a_weight
        return LlgenError(
            f"'{least.name}' has {needed:.3f} bits per weight with 4 bits for every matrix that may have them;"
            f" --bits allows {self.limit:g}",
            f"--bits {needed + 0.005:.2f}, or leave --bits out",
            ExitCode.DOES_NOT_FIT,
            {"needed": needed, "available": self.limit},
        )


Variant = tuple[str, int]
"""The name of a matrix and its number of bits."""


def within(
    budget: Budget,
    models: Mapping[int, QuantModel],
    sensitivity: Callable[[Mapping[Variant, IntMatrix]], Mapping[Variant, float]],
) -> dict[str, int]:
    """Bits for every matrix, so that the model keeps the budget.

    `models` are the whole model by its number of bits: 8 and fewer. `sensitivity` gets matrices with fewer bits, and
    returns the loss of each in nats per token.
    Raises LlgenError (does not fit) when even the fewest bits exceed the budget.
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
    chosen = dict.fromkeys(whole.matrices, 8)
    return chosen if excess <= 0 else chosen | allocate(sensitivity(variants), savings, excess)


def sensitivities(
    model: FoldedLlama,
    exact: Matrices,
    eights: Mapping[str, IntMatrix],
    variants: Mapping[Variant, IntMatrix],
    batches: Sequence[Tensor],
    told: Callable[[int], None] = lambda matrices: None,
) -> dict[Variant, float]:
    """The increase of the loss, in nats per token, when one matrix has fewer than 8 bits; for each of `variants`.

    `exact` are the float32 matrices of `model`, `eights` those of 8 bits, `batches` tokens [B, T].
    """
    whole = model.with_whole_vectors()
    base = {name: torch.from_numpy(matrix.dequantized().copy()) for name, matrix in eights.items()}
    tokens = [batch[:, : model.context] for batch in batches]
    result: dict[Variant, float] = {}
    with torch.inference_mode():
        wanted = [Head.of(model, each, exact) for each in tokens]

        def loss(matrices: Matrices) -> float:
            losses = [
                float(imitation_loss(Head.of(whole, each, matrices), head, each, weight=1.0))  # the divergence only
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
    """Bits of the matrices that get fewer than 8, with the smallest sum of losses that saves at least `excess`.

    Dynamic programming over the size saved, in small units; each saving is rounded down to whole units. Raises
    ValueError when even the largest savings are too small.
    """
    if excess > _most(savings):
        raise ValueError(f"at most {_most(savings)} can be saved, not {excess}")
    names = sorted({name for name, _ in savings})
    unit = max(1, max(excess, 0) // _UNITS)
    needed = -(-max(excess, 0) // unit)
    # best[s]: the smallest sum, over the matrices so far, that saves s units or more; chosen[i][s]: bits of the i-th.
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
        # Only the largest savings are enough, and rounded to units they are not. The largest of each name comes last.
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
    """The units still to save, for 0 to `needed` units, after `units` are saved."""
    return np.maximum(np.arange(needed + 1) - units, 0)


def _most(savings: Mapping[Variant, int]) -> int:
    """The size saved when every matrix has the bits that save most."""
    most: dict[str, int] = {}
    for (name, _), saved in savings.items():
        most[name] = max(most.get(name, 0), saved)
    return sum(most.values())
