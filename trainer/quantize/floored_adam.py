"""Adam that lets no weight move further than its gradient warrants beside the rest of its matrix.

Adam divides each gradient by its own usual size, so that a weight whose gradients are all but noise goes as far as one
whose gradients agree. Of an embedding most rows are such: their tokens are seldom met. Here what divides is at least
the root mean square over the matrix (compare Adam-mini, Zhang et al., 2024, arXiv:2406.16793, which has nothing but
such means): weights with small gradients move in proportion to them, the others as with Adam.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

_TINY = 1e-12
"""Of gradients that are all zero: divides by something."""


class FlooredAdam(torch.optim.Optimizer):
    """Adam (Kingma and Ba, 2015) without weight decay; `moments` are its decay rates beta1 and beta2.

    Parameters of two dimensions have the floor, each its own; vectors are updated as by Adam.
    """

    def __init__(self, groups: Iterable[dict[str, Any]], moments: tuple[float, float]) -> None:
        super().__init__(groups, {"lr": 0.0, "moments": moments})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient by its group's `lr`."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad, group["lr"], group["moments"])

    def _update(self, parameter: Tensor, gradient: Tensor, rate: float, moments: tuple[float, float]) -> None:
        state = self.state[parameter]
        if not state:
            state["updates"] = 0
            state["mean"], state["square"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        state["updates"] += 1
        state["mean"].lerp_(gradient, 1.0 - moments[0])
        state["square"].lerp_(gradient.square(), 1.0 - moments[1])
        # Both began at zero, and are too small by so much.
        mean, square = (
            state[name] / (1.0 - decay ** state["updates"])
            for name, decay in zip(("mean", "square"), moments, strict=True)
        )
        if parameter.dim() == 2:
            square.clamp_(min=float(square.mean()))
        parameter.addcdiv_(mean, square.sqrt_().add_(_TINY), value=-rate)
