"""A matrix in training: float numbers in place of its integers and scales, rounded each time the matrix is used."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from llgen.codegen.contract.matrix import GROUP, LEVELS, MAX_MULTIPLIER, SMALLEST_SCALE, IntMatrix, divided
from llgen.codegen.contract.numerics import Array

_INCLINATION = 0.8
"""Weights start at this share of the way from their integer to their exact number, or to the end of the range that
rounds to the integer. So weights near a border change first; with a share of 1 they would change without a reason."""
_UPPER = -65536
"""Mask of the upper 16 of 32 bits; it makes bfloat16 of float32."""


class Latent:
    """Weights in units of their steps, and the change of each step since the start.

    Gradients pass through the rounding of weights and of scales unchanged; a weight outside of the levels gets no
    gradient. Learning scales together with weights is LSQ (Esser et al., 2020, arXiv:1902.08153). Here a step
    multiplies its integers and does not divide the weights, so that a change of the step keeps the integers.
    """

    def __init__(self, start: IntMatrix, exact: Array) -> None:
        """Start from the integers of `start`, moved towards `exact` [rows, columns], from which they were rounded."""
        self.bits, self._columns = start.bits, start.shape[1]
        self._low, self._high = LEVELS[start.bits]
        self._scales = torch.from_numpy(start.scales[:, np.newaxis].copy())
        self._first, self._signs = self._scales, torch.ones_like(self._scales)
        if start.multipliers is not None:
            multipliers = torch.from_numpy(start.multipliers.astype(np.float32))
            self._first, self._signs = self._scales * multipliers.abs(), multipliers.sign()
        rest = np.clip(divided(exact, start.steps()) - start.integers, -0.5, 0.5)
        inclined = np.clip(start.integers + _INCLINATION * rest, self._low, self._high)
        self.weights = torch.from_numpy(inclined.astype(np.float32)).requires_grad_()
        """[rows, columns], in steps."""
        self.growth = torch.zeros_like(self._first, requires_grad=True)
        """[rows, groups]: the logarithm of a step divided by the step of the start."""

    def dequantized(self) -> Tensor:
        """The numbers that the rounded weights stand for, [rows, columns]."""
        inside = self.weights.clamp(self._low, self._high)
        near = inside.detach().round()
        return (inside + (near - inside.detach())) * self._steps()

    def rounded(self) -> IntMatrix:
        """The integer matrix of the present weights and steps."""
        with torch.no_grad():
            integers = self.weights.clamp(self._low, self._high).round().to(torch.int8).numpy()
            scales, multipliers = self._held(self._wanted())
        whole = None if multipliers is None else (multipliers * self._signs).to(torch.int8).numpy()
        return IntMatrix(self.bits, integers, scales[:, 0].numpy().copy(), whole)

    def state(self) -> dict[str, Tensor]:
        """A copy of everything that training changes."""
        return {"weights": self.weights.detach().clone(), "growth": self.growth.detach().clone()}

    def restore(self, state: dict[str, Any]) -> None:
        """Set weights and steps to those of `state`."""
        with torch.no_grad():
            self.weights.copy_(state["weights"])
            self.growth.copy_(state["growth"])

    def _wanted(self) -> Tensor:
        return (self._first * self.growth.exp()).clamp(min=SMALLEST_SCALE)

    def _steps(self) -> Tensor:
        """The steps: [rows, 1], or [rows, columns] when the matrix has groups."""
        wanted = self._wanted()
        with torch.no_grad():
            scales, multipliers = self._held(wanted)
            held = scales if multipliers is None else scales * multipliers
        steps = (wanted + (held - wanted).detach()) * self._signs
        return steps if self.bits == 8 else steps.repeat_interleave(GROUP, dim=1)[:, : self._columns]

    def _held(self, wanted: Tensor) -> tuple[Tensor, Tensor | None]:
        """Steps [rows, groups] as the format stores them: scales [rows, 1] of 16 bits, multipliers without signs."""
        if self.bits == 8:
            return wanted.bfloat16().float(), None
        # The start's scale while the multipliers can represent the steps; else rounded up, as `short_scale` does.
        largest = wanted.amax(dim=1, keepdim=True)
        bits = (largest / MAX_MULTIPLIER).clamp(min=SMALLEST_SCALE).view(torch.int32)
        fitting = ((bits + ~_UPPER) & _UPPER).view(torch.float32)
        scales = torch.where(largest < (MAX_MULTIPLIER + 0.5) * self._scales, self._scales, fitting)
        return scales, (wanted / scales).round().clamp(1, MAX_MULTIPLIER)
