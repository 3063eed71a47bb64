"""A matrix in training: real numbers that stand for its integers and its scales, rounded whenever it is used."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from llgen.codegen.matrix import GROUP, LEVELS, MAX_MULTIPLIER, SMALLEST_SCALE, IntMatrix, divided
from llgen.codegen.numerics import Array

_INCLINATION = 0.8
"""Of the way to the exact number, or to the end of what is rounded to the same integer. Those that were hard to decide
are so first to change; not all of the way, lest they change without a cause."""
_UPPER = -65536
"""Keeps the upper 16 bits of 32: bfloat16 of float32."""


class Latent:
    """Weights in units of their steps, and how far each step has moved from that of the start.

    Gradients pass through both roundings as if they were not there; a weight beyond the levels gets none. That scales
    are learned beside the weights is LSQ (Esser et al., 2020, arXiv:1902.08153); here a step multiplies its integers
    instead of dividing weights, so that moving it leaves the integers as they are.
    """

    def __init__(self, start: IntMatrix, exact: Array) -> None:
        """Begin with the integers of `start`, each inclined towards the number it was rounded from, [rows, columns]."""
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
        """[rows, columns]"""
        self.growth = torch.zeros_like(self._first, requires_grad=True)
        """[rows, groups]: the logarithm of a step over that of the start"""

    def dequantized(self) -> Tensor:
        """What the integers stand for, [rows, columns]."""
        inside = self.weights.clamp(self._low, self._high)
        near = inside.detach().round()
        return (inside + (near - inside.detach())) * self._steps()

    def rounded(self) -> IntMatrix:
        """The matrix as it is now."""
        with torch.no_grad():
            integers = self.weights.clamp(self._low, self._high).round().to(torch.int8).numpy()
            scales, multipliers = self._held(self._wanted())
        whole = None if multipliers is None else (multipliers * self._signs).to(torch.int8).numpy()
        return IntMatrix(self.bits, integers, scales[:, 0].numpy().copy(), whole)

    def state(self) -> dict[str, Tensor]:
        """A copy of what training changes."""
        return {"weights": self.weights.detach().clone(), "growth": self.growth.detach().clone()}

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to a `state`."""
        with torch.no_grad():
            self.weights.copy_(state["weights"])
            self.growth.copy_(state["growth"])

    def _wanted(self) -> Tensor:
        return (self._first * self.growth.exp()).clamp(min=SMALLEST_SCALE)

    def _steps(self) -> Tensor:
        """What one integer is worth: [rows, 1], or [rows, columns] where there are groups."""
        wanted = self._wanted()
        with torch.no_grad():
            scales, multipliers = self._held(wanted)
            held = scales if multipliers is None else scales * multipliers
        steps = (wanted + (held - wanted).detach()) * self._signs
        return steps if self.bits == 8 else steps.repeat_interleave(GROUP, dim=1)[:, : self._columns]

    def _held(self, wanted: Tensor) -> tuple[Tensor, Tensor | None]:
        """Steps [rows, groups] as the format holds them: scales [rows, 1] of 16 bits, whole multipliers; no signs."""
        if self.bits == 8:
            return wanted.bfloat16().float(), None
        # The start's scale, as long as multipliers reach; else rounded up, as `short_scale` does.
        largest = wanted.amax(dim=1, keepdim=True)
        bits = (largest / MAX_MULTIPLIER).clamp(min=SMALLEST_SCALE).view(torch.int32)
        fitting = ((bits + ~_UPPER) & _UPPER).view(torch.float32)
        scales = torch.where(largest < (MAX_MULTIPLIER + 0.5) * self._scales, self._scales, fitting)
        return scales, (wanted / scales).round().clamp(1, MAX_MULTIPLIER)
