"""Distillation into integers: matrices in training, and runs that continue after an interruption."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from threading import Event

import numpy as np
import pytest
import torch
from models import ODD, random_checkpoint, trained_vocabulary
from runs import STORIES

from llgen.codegen.contract.matrix import LEVELS, IntMatrix, round_in_groups, round_to_8
from llgen.codegen.model.spec import lower
from llgen.codegen.quantise.fold import FoldedModel, fold
from llgen.codegen.quantise.quantize import QuantModel, round_to_nearest
from llgen.errors import LlgenError
from llgen.trainer.data import Source
from llgen.trainer.model import Cache, Llama
from llgen.trainer.quantize import workspace
from llgen.trainer.quantize.allocate import BitsBudget
from llgen.trainer.quantize.course import Course
from llgen.trainer.quantize.distill import Interrupted, distill
from llgen.trainer.quantize.latent import Latent
from llgen.trainer.quantize.lessons import Lesson, Texts, held_out_batches
from llgen.trainer.quantize.recipe import Recipe, quantize_with_data
from llgen.trainer.quantize.workspace import claim
from llgen.trainer.quantize.writing import written_texts

COURSE = replace(Course.of(12, ODD.dim), tokens=60)
"""Tokens of an iteration: three to six of the six sequences."""
RECIPE = Recipe("q4", None, calibrate=None, documents=100, written=40, budget=None, course=COURSE)


def words(folder: Path) -> Source:
    path = folder / "text.txt"
    path.write_text("\n<|endoftext|>\n".join(STORIES), encoding="utf-8")
    return Source(path)


VALUES = np.random.default_rng(3).normal(size=(7, 70)).astype(np.float32)


def matrix(bits: int) -> IntMatrix:
    return round_to_8(VALUES) if bits == 8 else round_in_groups(VALUES, bits)


@pytest.mark.parametrize("bits", LEVELS)
def test_a_matrix_in_training_begins_as_it_was(bits: int) -> None:
    start = matrix(bits)
    latent = Latent(start, VALUES)
    again = latent.rounded()
    assert again.dequantized().tobytes() == start.dequantized().tobytes()
    # Exact too; a negative step makes a negative zero.
    assert latent.dequantized().detach().numpy().tobytes() == (start.integers * start.steps()).tobytes()
    assert np.array_equal(start.integers * start.steps(), start.dequantized())


def test_what_was_hard_to_round_is_first_to_change() -> None:
    start = matrix(4)
    latent = Latent(start, VALUES)
    exact = VALUES / start.steps()
    inside = (np.abs(exact - start.integers) < 0.5) & (np.abs(exact) < 7.0)
    assert inside.mean() > 0.8
    inclination = latent.weights.detach().numpy() - start.integers
    np.testing.assert_allclose(inclination[inside], 0.8 * (exact - start.integers)[inside], atol=1e-5)
    assert np.abs(inclination).max() <= 0.4


@pytest.mark.parametrize("bits", LEVELS)
def test_what_training_sees_is_what_the_format_holds(bits: int) -> None:
    """For all weights and steps, the matrix that is written is the one that the loss was computed with."""
    latent = Latent(matrix(bits), VALUES)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        latent.weights += torch.randn(latent.weights.shape, generator=generator) * 5
        latent.growth += torch.randn(latent.growth.shape, generator=generator)
    held = latent.rounded()
    low, high = LEVELS[bits]
    assert held.integers.min() >= low and held.integers.max() <= high
    assert not (held.scales.view(np.uint32) & 0xFFFF).any()
    assert held.multipliers is None or (held.multipliers.dtype == np.int8 and np.abs(held.multipliers).min() >= 1)
    np.testing.assert_allclose(latent.dequantized().detach().numpy(), held.dequantized(), rtol=1e-6)


def test_gradients_reach_weights_within_the_levels_and_their_steps() -> None:
    latent = Latent(matrix(4), VALUES)
    with torch.no_grad():
        latent.weights[0, 0] = 9.0
    latent.dequantized().sum().backward()  # type: ignore[no-untyped-call]
    assert latent.weights.grad is not None and latent.growth.grad is not None
    assert float(latent.weights.grad[0, 0]) == 0.0
    assert bool((latent.weights.grad[0, 1:] * torch.from_numpy(latent.rounded().steps()[0, 1:]) > 0).all())
    # The derivative of a step by its logarithm is the step: the gradient is the sum of the group's dequantised numbers.
    group = latent.rounded().dequantized()[1, :32].sum()
    assert float(latent.growth.grad[1, 0]) == pytest.approx(float(group), rel=1e-4)


@pytest.fixture(scope="module")
def task() -> tuple[FoldedModel, QuantModel, list[Lesson]]:
    folded = fold(lower(random_checkpoint(replace(ODD, tied=True))), "q4")
    generator = torch.Generator().manual_seed(1)
    lessons = [
        Lesson(torch.randint(ODD.vocab_size, (6, length), generator=generator), weight)
        for length, weight in ((9, 0.5), (14, 0.5), (20, 1.0))
    ]
    return folded, round_to_nearest(folded), lessons


def test_a_distillation_goes_on_to_the_same_result(
    task: tuple[FoldedModel, QuantModel, list[Lesson]], tmp_path: Path
) -> None:
    folded, start, lessons = task
    whole = distill(folded, start, lessons[1:], COURSE, held_out=lessons[:1])
    assert whole.sha256 != start.sha256
    stop, state = Event(), tmp_path / "state.pt"

    def told(iteration: int, loss: float) -> None:
        if iteration == 5:
            stop.set()

    with pytest.raises(Interrupted, match="stopped after 5 of 12 iterations"):
        distill(folded, start, lessons[1:], COURSE, held_out=lessons[:1], keep=state, stop=stop, told=told)
    assert distill(folded, start, lessons[1:], COURSE, held_out=lessons[:1], keep=state).sha256 == whole.sha256


def test_a_recipe_goes_on_where_it_stopped_and_refuses_to_with_other_settings(tmp_path: Path) -> None:
    checkpoint = random_checkpoint(replace(ODD, tied=True))
    recipe = replace(RECIPE, course=replace(COURSE, iterations=6))
    whole = quantize_with_data(checkpoint, recipe, tmp_path / "whole")
    stop, workspace = Event(), tmp_path / "work"

    def told(what: str) -> None:
        if "distilling: 2 of" in what:
            stop.set()

    with pytest.raises(Interrupted, match="stopped after 2 of 6 iterations"):
        quantize_with_data(checkpoint, recipe, workspace, stop, told)
    other = replace(recipe, course=replace(COURSE, iterations=7))
    with pytest.raises(LlgenError, match="holds an unfinished distillation of another model or text, or with other"):
        quantize_with_data(checkpoint, other, workspace)
    heard: list[str] = []
    assert quantize_with_data(checkpoint, recipe, workspace, told=heard.append).sha256 == whole.sha256
    assert not any("calibrating" in word or "rounding" in word or "write" in word for word in heard)


def test_a_recipe_that_kept_nothing_may_become_another(tmp_path: Path) -> None:
    stop = Event()

    def told(what: str) -> None:
        if "calibrating" in what:
            stop.set()

    vocabulary = trained_vocabulary()
    checkpoint = random_checkpoint(replace(ODD, tied=True, vocab_size=len(vocabulary)), vocabulary=vocabulary)
    recipe = replace(RECIPE, calibrate=words(tmp_path), written=0)
    with pytest.raises(Interrupted, match="stopped while preparing"):
        quantize_with_data(checkpoint, recipe, tmp_path / "work", stop, told)
    quantize_with_data(checkpoint, replace(recipe, scheme="q8"), tmp_path / "work")


def test_what_a_kill_left_of_the_start_is_made_anew(tmp_path: Path) -> None:
    checkpoint = random_checkpoint(replace(ODD, tied=True))
    (tmp_path / "work" / ".start.new").mkdir(parents=True)
    (tmp_path / "work" / ".start.new" / ".divisors.pt.new").write_bytes(b"half")
    quantize_with_data(checkpoint, replace(RECIPE, course=replace(COURSE, iterations=2)), tmp_path / "work")
    assert not (tmp_path / "work" / ".start.new").exists()


def test_the_last_position_of_the_context_is_trained() -> None:
    folded = fold(lower(random_checkpoint(replace(ODD, tied=True))), "q4")
    start = round_to_nearest(folded)
    tokens = torch.randint(ODD.vocab_size, (2, ODD.max_seq_len + 1), generator=torch.Generator().manual_seed(1))

    def loss(tokens: torch.Tensor) -> float:
        heard: list[float] = []
        lessons = [Lesson(tokens, 0.0)]
        distill(
            folded, start, lessons, replace(COURSE, iterations=1, tokens=999), told=lambda _, nats: heard.append(nats)
        )
        return heard[0]

    last = tokens.clone()
    last[:, -1] = (last[:, -1] + 1) % ODD.vocab_size
    assert loss(last) != loss(tokens)


def test_one_position_leaves_nothing_to_learn(tmp_path: Path) -> None:
    checkpoint = random_checkpoint(replace(ODD, tied=True, max_seq_len=1))
    with pytest.raises(LlgenError, match="has a context of one position, so there is nothing to predict"):
        quantize_with_data(checkpoint, RECIPE, tmp_path / "work")


def test_what_the_model_wrote_is_not_written_again(tmp_path: Path) -> None:
    model = Llama.from_checkpoint(random_checkpoint(ODD)).eval()
    whole = written_texts(model, 1, 300, 9)
    assert [tuple(part.shape) for part in whole] == [(128, 10), (128, 10), (44, 10)]
    assert all(bool((part[:, 0] == 1).all()) for part in whole)
    heard: list[int] = []

    def told(texts: int) -> None:
        heard.append(texts)
        if len(heard) == 2:
            raise Interrupted

    with pytest.raises(Interrupted):
        written_texts(model, 1, 300, 9, tmp_path, told)
    first = tmp_path / "0.pt"
    before = first.stat().st_mtime_ns
    again = written_texts(model, 1, 300, 9, tmp_path)
    assert first.stat().st_mtime_ns == before
    assert all(torch.equal(a, b) for a, b in zip(whole, again, strict=True))


def test_tokens_are_written_as_often_as_they_are_likely() -> None:
    odds = torch.tensor([0.5, 0.0, 0.2, 0.3])

    class Constant(Llama):
        def forward(self, tokens: torch.Tensor, cache: Cache | None = None) -> torch.Tensor:
            return odds.log().expand(len(tokens), 1, 4)

    (text,) = written_texts(Constant(replace(ODD, vocab_size=4)), 1, 100, 200)
    shares = torch.bincount(text[:, 1:].flatten(), minlength=4) / (100 * 200)
    torch.testing.assert_close(shares, odds, atol=0.015, rtol=0.0)


def test_what_is_held_out_is_of_the_usual_text() -> None:
    given, written = [torch.zeros(2, 3), torch.zeros(2, 4)], [torch.zeros(5, 6)]

    def shapes(lessons: list[Lesson]) -> list[tuple[tuple[int, ...], float]]:
        return [(tuple(lesson.tokens.shape), lesson.teacher_weight) for lesson in lessons]

    learned, held_out = Texts(given, written).lessons(0.25)
    assert (shapes(learned), shapes(held_out)) == ([((2, 4), 0.25), ((5, 6), 1.0)], [((2, 3), 0.25)])
    learned, held_out = Texts([], given).lessons(0.25)
    assert (shapes(learned), shapes(held_out)) == ([((2, 4), 1.0)], [((2, 3), 1.0)])


def test_a_text_has_an_opinion_and_what_the_model_writes_has_none(tmp_path: Path) -> None:
    vocabulary = trained_vocabulary()
    checkpoint = random_checkpoint(replace(ODD, tied=True, vocab_size=len(vocabulary)), vocabulary=vocabulary)
    recipe = replace(RECIPE, calibrate=words(tmp_path), course=replace(COURSE, iterations=40))
    mixed = quantize_with_data(checkpoint, recipe, tmp_path / "mixed")
    of_text_alone = quantize_with_data(checkpoint, replace(recipe, written=0), tmp_path / "text")
    of_teacher_alone = quantize_with_data(checkpoint, replace(recipe, teacher_weight=1.0), tmp_path / "teacher")
    assert len({mixed.sha256, of_text_alone.sha256, of_teacher_alone.sha256}) == 3
    assert len(list((tmp_path / "mixed" / "written").iterdir())) == 1
    assert not (tmp_path / "text" / "written").exists()


def test_a_damaged_state_says_what_to_delete(tmp_path: Path) -> None:
    checkpoint = random_checkpoint(replace(ODD, tied=True))
    quantize_with_data(checkpoint, RECIPE, tmp_path / "work")
    (tmp_path / "work" / "state.pt").write_bytes(b"half a file")
    with pytest.raises(LlgenError, match="not a readable checkpoint") as caught:
        quantize_with_data(checkpoint, RECIPE, tmp_path / "work")
    assert caught.value.hint == f"delete '{tmp_path / 'work'}' to start again"


@pytest.mark.parametrize(("scheme", "budget"), [("q8", None), ("q4", None), ("q4", BitsBudget(6.5))])
@pytest.mark.parametrize("course", [None, replace(COURSE, iterations=2)])
def test_models_with_a_classifier_of_their_own(
    scheme: str, budget: BitsBudget | None, course: Course | None, tmp_path: Path
) -> None:
    checkpoint = random_checkpoint(replace(ODD, tied=False))
    model = quantize_with_data(
        checkpoint, replace(RECIPE, scheme=scheme, budget=budget, course=course), tmp_path / "work"
    )
    nearest = round_to_8(fold(lower(checkpoint), scheme).matrices["embedding"])
    if course is None:  # it multiplies no vector, so rounding to nearest is best
        assert model.integer_matrices()["embedding"].integers.tobytes() == nearest.integers.tobytes()
    assert model.classifier is not None and model.embedding.bits == 8


@pytest.mark.parametrize(("batches", "held_out"), [(0, 0), (1, 0), (2, 1), (8, 1), (15, 1), (16, 2), (80, 10)])
def test_an_eighth_of_the_text_is_held_out(batches: int, held_out: int) -> None:
    assert held_out_batches(batches) == held_out


def test_a_distillation_that_only_harms_returns_its_start(
    task: tuple[FoldedModel, QuantModel, list[Lesson]],
) -> None:
    folded, start, lessons = task
    wild = replace(COURSE, rate=1000.0, iterations=3)
    result = distill(folded, start, lessons[1:], wild, held_out=lessons[:1])
    for name, before in start.integer_matrices().items():
        assert result.integer_matrices()[name].integers.tobytes() == before.integers.tobytes()


def test_longer_courses_and_wider_models_go_in_shorter_steps() -> None:
    short, long = Course.of(400, 64), Course.of(3200, 64)
    assert (long.rate, long.scale_rate) == pytest.approx((short.rate / 4, short.scale_rate / 4))
    assert Course.of(400, 192).rate == pytest.approx(short.rate / 3**0.5)
    assert Course.of(400, 32) == short


def test_what_was_begun_with_another_procedure_does_not_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folded = fold(lower(random_checkpoint()), "q4")
    claim(tmp_path, folded, [], "settings")
    (tmp_path / "state.pt").touch()
    claim(tmp_path, folded, [], "settings")
    monkeypatch.setattr(workspace, "_PROCEDURE", "0")
    with pytest.raises(LlgenError, match="or of another version of llgen"):
        claim(tmp_path, folded, [], "settings")


def test_the_rate_falls_evenly_at_the_end_to_the_last_digit_of_a_weight() -> None:
    course = Course.of(1000, 64)
    factors = np.array([course.factor(iteration) for iteration in range(course.iterations + 1)])
    assert np.all(np.diff(factors[:20]) > 0)
    assert np.all(np.diff(factors[20:]) < 0)
    assert factors[500] == pytest.approx(0.5)
    falls = factors[801:] / factors[800:-1]
    assert falls == pytest.approx(falls[0])
    assert course.rate * factors[-1] == pytest.approx(1e-7)
