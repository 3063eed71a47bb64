"""An endless corpus of small, coherent children's stories, made up here: training data that needs no download.

A story is a plot played out in a `World` that refuses contradictions, and told by a `Teller` that varies the wording.
The idea of a corpus whose words a small model can master is that of TinyStories (Eldan and Li, 2023,
arXiv:2305.07759); plots and wordings are our own.
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
    """A story, and the world it left behind."""

    text: str
    plot: str
    world: World


def tell_story(dice: Dice, names: int = ALL_NAMES) -> Story:
    """Play one plot, chosen by the dice; `names` as in `stories`."""
    tell = Teller(dice, names)
    plot = dice.pick(PLOTS)
    plot(tell)
    return Story(tell.text(), plot.__name__, tell.world)


def stories(seed: int, names: int = ALL_NAMES) -> Iterator[str]:
    """The stories of a seed, without end; the same on every platform and Python version.

    Of girls, boys, and animals of either sex there are `names` each: at least 3, at most 8. The fewer, the sooner a
    model has learned to keep them apart.
    """
    dice = Dice(seed)
    while True:
        yield tell_story(dice, names).text
