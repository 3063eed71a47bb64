"""GPTQ (Frantar et al., 2022, arXiv:2210.17323): rounding where later weights of a row correct errors of earlier ones.

The outputs of a matrix should change as little as possible: the error of a row w is (w - w')^T H (w - w') with
H = X^T X, where X are the inputs of calibration. Columns are rounded one after another, those with the largest inputs
first. The error of each rounding is spread over the columns not yet rounded, by the inverse of H.

Two steps are added to GPTQ. Each position of X is weighed by the gradient of the loss for the outputs at that position
(as in GuidedQuant: Kim et al., 2025, arXiv:2505.07004). The result is refined: integers by coordinate descent and group
scales by least squares, alternating, as long as the error falls.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from llgen.codegen.contract.matrix import GROUP, LEVELS, IntMatrix, group_scales, round_to_8, row_form
from llgen.codegen.model.architectures import graph_of

from .calibration import sequences_at_once
from .folded import FoldedLlama, Matrices

_DAMPING = 0.01
"""This share of the mean diagonal of H is added to its diagonal, so that H can be inverted when inputs are missing."""
_SWEEPS = 10
_REFITS = 4
_MOST_SPREAD = 1 << 24
"""Maximum number of elements of rows spread over their groups; 128 MB in float64."""


class Curvature:
    """H of every matrix by name, [columns, columns] in float64, from tokens [B, T]; scaled to mean diagonal 1."""

    def __init__(self, model: FoldedLlama, matrices: Matrices, batches: Iterable[Tensor]) -> None:
        self._sums: dict[str, Tensor] = {}
        first = graph_of(model.config).embedding.name
        live = {**matrices, first: matrices[first].clone().requires_grad_()}
        for batch in batches:
            for tokens in torch.split(batch, sequences_at_once(batch.shape[1] - 1, model.config.vocab_size)):
                self._add(model, live, tokens)

    def __getitem__(self, name: str) -> Tensor:
        total = self._sums[name]
        return total / total.diagonal().mean().clamp(min=1e-300)

    def _add(self, model: FoldedLlama, matrices: Matrices, tokens: Tensor) -> None:
        seen: list[tuple[str, Tensor, Tensor]] = []

        def observe(name: str, x: Tensor, y: Tensor) -> None:
            y.retain_grad()
            seen.append((name, x.detach(), y))

        logits = model(tokens[:, :-1], matrices, observe)
        F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), reduction="sum").backward()  # type: ignore[no-untyped-call]
        for name, x, y in seen:
            assert y.grad is not None
            flat = x.flatten(0, -2).double()
            weight = y.grad.flatten(0, -2).double().square().mean(-1, keepdim=True)
            self._sums[name] = self._sums.get(name, 0.0) + (flat * weight).T @ flat


def round_with_curvature(values: npt.NDArray[np.float32], hessian: Tensor, bits: int) -> IntMatrix:
    """Round a matrix [rows, columns] to `bits` bits, with a small error by its H [columns, columns]."""
    damped = hessian.clone()
    damped.diagonal().add_(_DAMPING * float(hessian.diagonal().mean()) or 1.0)
    importance = hessian.diagonal().float().numpy()
    form = round_to_8(values) if bits == 8 else _scaled(values, bits, importance + 1e-3 * importance.mean())
    weights = torch.from_numpy(values.astype(np.float64))
    integers = _one_after_the_other(weights, _steps(form), damped, bits)
    for _ in range(_REFITS):
        integers = _polished(weights, integers, _steps(form), damped, bits)
        better = _refitted(weights, integers, form, damped)
        if better is None:
            break
        form = better
    return replace(form, integers=integers.numpy().astype(np.int8))


def _scaled(values: npt.NDArray[np.float32], bits: int, importance: npt.NDArray[np.float32]) -> IntMatrix:
    return IntMatrix(bits, np.zeros(values.shape, np.int8), *group_scales(values, bits, importance))


def _steps(form: IntMatrix) -> Tensor:
    """The value of one step of each weight, [rows, columns] in float64."""
    return torch.from_numpy(form.steps().astype(np.float64))


def _one_after_the_other(weights: Tensor, steps: Tensor, hessian: Tensor, bits: int) -> Tensor:
    """GPTQ itself; returns the integers [rows, columns]."""
    order = torch.argsort(hessian.diagonal(), descending=True)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(hessian[order][:, order]))
    factor = torch.linalg.cholesky(inverse, upper=True)
    weights, steps = weights[:, order].clone(), steps[:, order]
    integers = torch.zeros_like(weights)
    for column in range(weights.shape[1]):
        exact = weights[:, column]
        integers[:, column] = (exact / steps[:, column]).round().clamp(*LEVELS[bits])
        error = (exact - integers[:, column] * steps[:, column]) / factor[column, column]
        weights[:, column + 1 :] -= error[:, None] * factor[column, column + 1 :]
    back = torch.empty_like(integers)
    back[:, order] = integers
    return back


def _polished(weights: Tensor, integers: Tensor, steps: Tensor, hessian: Tensor, bits: int) -> Tensor:
    """Set each integer in turn to the best value for the others of its row, until no integer changes."""
    integers = integers.clone()
    pull = (weights - integers * steps) @ hessian  # minus half the gradient of the error
    for _ in range(_SWEEPS):
        still = True
        for column in range(weights.shape[1]):
            step = steps[:, column]
            best = integers[:, column] + pull[:, column] / (hessian[column, column] * step)
            change = best.round().clamp(*LEVELS[bits]) - integers[:, column]
            if bool(change.any()):
                still = False
                integers[:, column] += change
                pull -= (change * step)[:, None] * hessian[column]
        if still:
            break
    return integers


def _refitted(weights: Tensor, integers: Tensor, form: IntMatrix, hessian: Tensor) -> IntMatrix | None:
    """The form with group scales that fit the integers best, for rows whose error falls; None when no row improves."""
    if form.multipliers is None:
        return None
    groups = form.multipliers.shape[1]
    together = max(1, _MOST_SPREAD // (groups * weights.shape[1]))
    parts = zip(torch.split(weights, together), torch.split(integers, together), strict=True)
    fitted = torch.cat([_fitted(*part, groups, hessian) for part in parts]).numpy()
    before = form.multipliers.astype(np.float64) * form.scales[:, np.newaxis]
    scales, multipliers = row_form(np.where(fitted * before > 0, fitted, before))
    trial = replace(form, scales=scales, multipliers=multipliers)
    gains = (_error(weights, integers, trial, hessian) < _error(weights, integers, form, hessian)).numpy()
    if not gains.any():
        return None
    return replace(
        form,
        scales=np.where(gains, scales, form.scales).astype(np.float32),
        multipliers=np.where(gains[:, np.newaxis], multipliers, form.multipliers),
    )


def _fitted(weights: Tensor, integers: Tensor, groups: int, hessian: Tensor) -> Tensor:
    """The best step of each group, [rows, groups], by least squares for each row."""
    spread = torch.zeros(len(weights), groups, weights.shape[1], dtype=torch.float64)
    for group in range(groups):
        columns = slice(group * GROUP, (group + 1) * GROUP)
        spread[:, group, columns] = integers[:, columns]
    pulled = spread @ hessian
    normal = pulled @ spread.mT  # [rows, groups, groups]
    normal.diagonal(dim1=1, dim2=2).add_(1e-9 * normal.diagonal(dim1=1, dim2=2).mean(1, keepdim=True) + 1e-30)
    fitted: Tensor = torch.linalg.solve(normal, pulled @ weights[:, :, None]).squeeze(-1)
    return fitted


def _error(weights: Tensor, integers: Tensor, form: IntMatrix, hessian: Tensor) -> Tensor:
    """The error of each row, [rows]."""
    rest = weights - integers * _steps(form)
    return ((rest @ hessian) * rest).sum(1)
