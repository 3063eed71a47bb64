"""Adam with a floor: vectors as ever, and small gradients in a matrix make small steps."""

from __future__ import annotations

import torch
from torch import Tensor

from llgen.trainer.quantize.floored_adam import FlooredAdam

MOMENTS = (0.9, 0.98)


def apply(optimizer: FlooredAdam, parameter: Tensor, gradients: list[Tensor], rate: float = 0.01) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate
    for gradient in gradients:
        parameter.grad = gradient.clone()
        optimizer.step()


def moved(start: Tensor, gradients: list[Tensor]) -> Tensor:
    parameter = start.clone().requires_grad_()
    apply(FlooredAdam([{"params": [parameter]}], MOMENTS), parameter, gradients)
    return parameter.detach() - start


def some_gradients(*shape: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [torch.randn(shape, generator=generator) for _ in range(9)]


def test_a_vector_moves_as_with_adam() -> None:
    gradients = some_gradients(7)
    parameter = torch.zeros(7, requires_grad=True)
    adam = torch.optim.Adam([parameter], lr=0.01, betas=MOMENTS, eps=1e-12)
    for gradient in gradients:
        parameter.grad = gradient
        adam.step()
    torch.testing.assert_close(moved(torch.zeros(7), gradients), parameter.detach())


def test_weights_of_small_gradients_move_in_proportion_to_them() -> None:
    gradients = some_gradients(4, 6)
    share = torch.tensor([[1.0], [0.1], [0.01], [0.0]])
    same = [gradient[:1].expand(4, 6) * share for gradient in gradients]
    steps = moved(torch.zeros(4, 6), same)
    torch.testing.assert_close(steps[1] * 10, steps[2] * 100, rtol=1e-4, atol=1e-9)
    assert (steps[1].abs() < steps[0].abs()).all()
    assert (steps[3] == 0).all()


def test_no_gradients_at_all_move_nothing() -> None:
    assert (moved(torch.ones(2, 3), [torch.zeros(2, 3)] * 3) == 0).all()


def test_goes_on_from_its_state() -> None:
    gradients = some_gradients(3, 5)
    parameter = torch.zeros(3, 5, requires_grad=True)
    first = FlooredAdam([{"params": [parameter]}], MOMENTS)
    apply(first, parameter, gradients[:4])
    second = FlooredAdam([{"params": [parameter]}], MOMENTS)
    second.load_state_dict(first.state_dict())
    apply(second, parameter, gradients[4:])
    assert second.param_groups[0]["moments"] == MOMENTS
    torch.testing.assert_close(parameter.detach(), moved(torch.zeros(3, 5), gradients), rtol=0, atol=0)
