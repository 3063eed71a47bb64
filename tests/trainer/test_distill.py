"""Distilling into integers: matrices in training, and runs that go on after an interruption."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from threading import Event

import numpy as np
import pytest
import torch
from models import ODD, random_checkpoint

from llgen.codegen.errors import LlgenError
from llgen.codegen.matrix import LEVELS, IntMatrix, round_to_4, round_to_8
from llgen.codegen.quantize import FoldedModel, QuantModel, fold, round_to_nearest
from llgen.codegen.spec import lower
from llgen.trainer.quantize.allocate import BitsBudget
from llgen.trainer.quantize.course import Course
from llgen.trainer.quantize.distill import Interrupted, distill
from llgen.trainer.quantize.latent import Latent
from llgen.trainer.quantize.recipe import Recipe, held_out_batches, quantize_with_data

COURSE = replace(Course.of(12, ODD.dim), tokens=60)
"""Of six sequences, three to six in an iteration."""


def matrix(bits: int) -> IntMatrix:
    values = np.random.default_rng(3).normal(size=(7, 70)).astype(np.float32)
    return (round_to_8 if bits == 8 else round_to_4)(values)


@pytest.mark.parametrize("bits", [8, 4])
def test_a_matrix_in_training_begins_as_it_was(bits: int) -> None:
    start = matrix(bits)
    latent = Latent(start)
    again = latent.rounded()
    assert again.dequantized().tobytes() == start.dequantized().tobytes()
    assert latent.dequantized().detach().numpy().tobytes() == start.dequantized().tobytes()


@pytest.mark.parametrize("bits", [8, 4])
def test_what_training_sees_is_what_the_format_holds(bits: int) -> None:
    """However weights and steps have moved, the matrix written is the one that the loss was computed with."""
    latent = Latent(matrix(bits))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        latent.weights += torch.randn(latent.weights.shape, generator=generator) * 5
        latent.growth += torch.randn(latent.growth.shape, generator=generator)
    held = latent.rounded()
    low, high = LEVELS[bits]
    assert held.integers.min() >= low and held.integers.max() <= high
    assert not (held.scales.view(np.uint32) & 0xFFFF).any()
    assert held.multipliers is None or (held.multipliers.dtype == np.uint8 and held.multipliers.min() >= 1)
    np.testing.assert_allclose(latent.dequantized().detach().numpy(), held.dequantized(), rtol=1e-6)


def test_gradients_reach_weights_within_the_levels_and_their_steps() -> None:
    latent = Latent(matrix(4))
    with torch.no_grad():
        latent.weights[0, 0] = 9.0
    latent.dequantized().sum().backward()  # type: ignore[no-untyped-call]
    assert latent.weights.grad is not None and latent.growth.grad is not None
    assert float(latent.weights.grad[0, 0]) == 0.0
    assert bool((latent.weights.grad[0, 1:] > 0).all())
    # A step grows with its logarithm: the gradient is what the group's integers stand for, added up.
    group = latent.rounded().dequantized()[1, :32].sum()
    assert float(latent.growth.grad[1, 0]) == pytest.approx(float(group), rel=1e-4)


@pytest.fixture(scope="module")
def task() -> tuple[FoldedModel, QuantModel, list[torch.Tensor]]:
    folded = fold(lower(random_checkpoint(replace(ODD, tied=True))))
    generator = torch.Generator().manual_seed(1)
    batches = [torch.randint(ODD.vocab_size, (6, length), generator=generator) for length in (9, 14, 20)]
    return folded, round_to_nearest(folded, "q4"), batches


def test_a_distillation_goes_on_to_the_same_result(
    task: tuple[FoldedModel, QuantModel, list[torch.Tensor]], tmp_path: Path
) -> None:
    folded, start, batches = task
    whole = distill(folded, start, batches[1:], COURSE, held_out=batches[:1])
    assert whole.sha256 != start.sha256
    stop, state = Event(), tmp_path / "state.pt"

    def told(iteration: int, loss: float) -> None:
        if iteration == 5:
            stop.set()

    with pytest.raises(Interrupted, match="stopped after iteration 5"):
        distill(folded, start, batches[1:], COURSE, held_out=batches[:1], keep=state, stop=stop, told=told)
    assert distill(folded, start, batches[1:], COURSE, held_out=batches[:1], keep=state).sha256 == whole.sha256


def test_a_recipe_goes_on_where_it_stopped_and_refuses_to_with_other_settings(tmp_path: Path) -> None:
    checkpoint = random_checkpoint(replace(ODD, tied=True))
    recipe = Recipe("q4", None, None, 40, None, replace(COURSE, iterations=6))
    whole = quantize_with_data(checkpoint, recipe, tmp_path / "whole")
    stop, workspace = Event(), tmp_path / "work"

    def told(what: str) -> None:
        if "distilling: 2 of" in what:
            stop.set()

    with pytest.raises(Interrupted, match="stopped after iteration 2"):
        quantize_with_data(checkpoint, recipe, workspace, stop, told)
    other = replace(recipe, course=replace(COURSE, iterations=7))
    with pytest.raises(LlgenError, match="holds an unfinished distillation of another model or text, or with other"):
        quantize_with_data(checkpoint, other, workspace)
    words: list[str] = []
    assert quantize_with_data(checkpoint, recipe, workspace, told=words.append).sha256 == whole.sha256
    assert not any("calibrating" in word or "rounding" in word or "write" in word for word in words)


def test_a_recipe_stops_while_it_calibrates(tmp_path: Path) -> None:
    stop = Event()

    def told(what: str) -> None:
        if "calibrating" in what:
            stop.set()

    recipe = Recipe("q4", None, None, 40, None, COURSE)
    with pytest.raises(Interrupted):
        quantize_with_data(random_checkpoint(ODD), recipe, tmp_path / "work", stop, told)
    assert not (tmp_path / "work").exists()


def test_a_damaged_state_says_what_to_delete(tmp_path: Path) -> None:
    checkpoint = random_checkpoint(replace(ODD, tied=True))
    recipe = Recipe("q4", None, None, 40, None, COURSE)
    quantize_with_data(checkpoint, recipe, tmp_path / "work")
    (tmp_path / "work" / "state.pt").write_bytes(b"half a file")
    with pytest.raises(LlgenError, match="not a readable checkpoint") as caught:
        quantize_with_data(checkpoint, recipe, tmp_path / "work")
    assert caught.value.hint == f"delete '{tmp_path / 'work'}' to begin anew"


@pytest.mark.parametrize(("scheme", "budget"), [("q8", None), ("q4", None), ("q4", BitsBudget(6.5))])
@pytest.mark.parametrize("course", [None, replace(COURSE, iterations=2)])
def test_models_with_a_classifier_of_their_own(
    scheme: str, budget: BitsBudget | None, course: Course | None, tmp_path: Path
) -> None:
    checkpoint = random_checkpoint(replace(ODD, tied=False))
    model = quantize_with_data(checkpoint, Recipe(scheme, None, None, 40, budget, course), tmp_path / "work")
    nearest = round_to_8(fold(lower(checkpoint)).matrices["embedding"])
    if course is None:  # no vector is multiplied with it, so that there is nothing better
        assert model.integer_matrices()["embedding"].integers.tobytes() == nearest.integers.tobytes()
    assert model.classifier is not None and model.embedding.bits == 8


@pytest.mark.parametrize(("batches", "held_out"), [(0, 0), (1, 0), (2, 1), (8, 1), (15, 1), (16, 2), (80, 10)])
def test_an_eighth_of_the_text_is_held_out(batches: int, held_out: int) -> None:
    assert held_out_batches(batches) == held_out


def test_a_distillation_that_only_harms_returns_its_start(
    task: tuple[FoldedModel, QuantModel, list[torch.Tensor]],
) -> None:
    folded, start, batches = task
    wild = replace(COURSE, rate=1000.0, iterations=3)
    result = distill(folded, start, batches[1:], wild, held_out=batches[:1])
    for name, before in start.integer_matrices().items():
        assert result.integer_matrices()[name].integers.tobytes() == before.integers.tobytes()


def test_longer_courses_and_wider_models_go_in_shorter_steps() -> None:
    short, long = Course.of(400, 64), Course.of(6400, 64)
    assert (long.rate, long.scale_rate) == pytest.approx((short.rate / 2, short.scale_rate / 2))
    assert Course.of(400, 192).rate == pytest.approx(short.rate / 3**0.5)
    assert Course.of(400, 32) == short
