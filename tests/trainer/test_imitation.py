"""The loss computed in parts equals the loss from whole logits, and the gradients are equal too."""

from __future__ import annotations

import pytest
import torch

from llgen.trainer.objective import Objective
from llgen.trainer.operators import Operators
from llgen.trainer.quantize.imitation import Head, imitation_loss

BATCH, TIME, DIM, VOCABULARY = 3, 131, 12, 40


def head(seed: int) -> Head:
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(BATCH, TIME, DIM, generator=generator)
    return Head(vectors.requires_grad_(), torch.randn(VOCABULARY, DIM, generator=generator).requires_grad_())


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_a_loss_in_parts_is_that_of_whole_logits(weight: float) -> None:
    theirs = Head(*(part.detach() for part in head(1)))
    targets = torch.randint(VOCABULARY, (BATCH, TIME), generator=torch.Generator().manual_seed(2))
    found, gradients = [], []
    for in_parts in (True, False):
        ours = head(3)
        if in_parts:
            loss = imitation_loss(ours, theirs, targets, weight)
        else:
            objective = Objective(Operators(), lambda _: theirs.vectors @ theirs.classifier.T, weight)
            loss = objective(lambda _: ours.vectors @ ours.classifier.T, targets, targets)  # noqa: B023
        (loss * 0.5).backward()  # type: ignore[no-untyped-call]
        found.append(float(loss.detach()))
        gradients.append([part.grad for part in ours])
    assert found[0] == pytest.approx(found[1], rel=1e-5)
    for in_parts_gradient, whole in zip(*gradients, strict=True):
        torch.testing.assert_close(in_parts_gradient, whole, rtol=1e-4, atol=1e-7)


@torch.no_grad()
def test_without_gradients_it_is_the_same_loss() -> None:
    theirs, targets = head(1), torch.zeros(BATCH, TIME, dtype=torch.long)
    with torch.enable_grad():
        expected = imitation_loss(head(3), theirs, targets, 0.5).detach()
    assert float(imitation_loss(head(3), theirs, targets, 0.5)) == float(expected)
