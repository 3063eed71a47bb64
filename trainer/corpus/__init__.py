"""An endless corpus of small, coherent children's stories made by a program: training data that needs no download.

Each story is a plot. A plot changes a `World`, which refuses contradictions, and a `Teller` tells it in varying words.
TinyStories (Eldan and Li, 2023, arXiv:2305.07759) had the idea of a corpus with words that a small model can learn;
plots and wordings here are new.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from . import plots_days, plots_friends, plots_things
from .dice import Dice
from .teller import Teller
from .words import ALL_NAMES
from .world import World

PLOTS = plots_things.PLOTS + plots_friends.PLOTS + plots_days.PLOTS


@dataclass(frozen=True)
class Story:
    """A story, and its world after the last event."""

    text: str
    plot: str
    world: World


def tell_story(dice: Dice, names: int = ALL_NAMES) -> Story:
    """Tell one plot, chosen at random by `dice`; `names` as in `stories`."""
    tell = Teller(dice, names)
    plot = dice.pick(PLOTS)
    plot(tell)
    return Story(tell.text(), plot.__name__, tell.world)


def stories(seed: int, names: int = ALL_NAMES) -> Iterator[str]:
    """An endless sequence of stories for a seed; the same on every platform and Python version.

    There are `names` names for girls, for boys, and for animals of each sex: at least 3, at most 8. A model learns
    fewer names sooner.
    """
    dice = Dice(seed)
    while True:
        yield tell_story(dice, names).text
