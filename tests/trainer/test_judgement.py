"""What the held-out losses tell about a run."""

from __future__ import annotations

import math

import pytest

from llgen.trainer.judgement import FAR_ABOVE, Kept, WorseThanChance, course, has_risen, require_better_than_chance

PIECES = 1024
CHANCE = math.log(PIECES)
KEPT = Kept(4.2, 64, 500)


def judge(held_out: float, before: float | None, trained: float, *, ends: bool = False, kept: Kept = KEPT) -> None:
    require_better_than_chance(held_out, before, trained, PIECES, kept, ends=ends)


@pytest.mark.parametrize("before", [None, 3.0, 30.0])
def test_a_model_that_knows_its_text_by_heart_and_nothing_else_is_stopped_at_once(before: float | None) -> None:
    with pytest.raises(
        WorseThanChance, match=r"is 13\.500 nats/token; guessing among 1,024 tokens has 6\.931"
    ) as caught:
        judge(13.5, before, 0.992)
    assert "training loss is 0.992: the model learns its text by heart" in caught.value.message
    assert caught.value.hint is not None
    assert caught.value.hint.startswith("--separator line")
    assert caught.value.useful


@pytest.mark.parametrize(
    ("held_out", "before", "trained", "ends"),
    [
        (CHANCE + 0.3, None, 0.1, True),  # noise, or a small model at its start
        (9.5, None, 9.4, False),  # the start of fine-tuning on another kind of text
        (9.0, 9.5, 8.9, False),  # and the loss falls
    ],
)
def test_a_model_that_has_only_begun_may_be_worse_than_chance(
    held_out: float, before: float | None, trained: float, ends: bool
) -> None:
    judge(held_out, before, trained, ends=ends)


@pytest.mark.parametrize(("before", "ends"), [(9.5, False), (None, True), (11.0, True)])
def test_a_model_that_stays_worse_than_chance_is_stopped(before: float | None, ends: bool) -> None:
    with pytest.raises(WorseThanChance, match="the model is worse than guessing") as caught:
        judge(9.5, before, 9.9, ends=ends, kept=Kept(FAR_ABOVE * CHANCE + 0.1, 64, 5))
    assert not caught.value.useful


def test_the_best_of_longer_sequences_is_kept() -> None:
    short, long = Kept(1.0, 16, 5), Kept(2.0, 32, 10)
    assert short.beside(long) is long
    assert long.beside(Kept(2.0, 32, 15)) is long
    assert long.beside(Kept(1.9, 32, 15)).iteration == 15
    assert Kept().beside(short) is short


def test_a_rise_is_said_with_the_weights_that_are_kept() -> None:
    assert course(4.2, 500, KEPT) == "held-out loss 4.200 nats/token"
    assert course(5.1, 1000, KEPT) == (
        "held-out loss 5.100 nats/token, above the 4.200 of iteration 500, whose weights are kept"
    )
    assert has_risen(5.1, KEPT)
    assert not has_risen(4.25, KEPT)
    assert not has_risen(math.nan, KEPT)
