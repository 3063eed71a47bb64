"""The world of one story: where each character is, who holds which thing, which things are broken, moods.

Plots change the world only through methods that check their preconditions, so that a story cannot contradict itself. A
plot in which somebody gives away a thing that he does not hold raises an exception.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from .words import HOME, WAYS, Character, Place, Thing


class Contradiction(Exception):
    """A plot tried something that is impossible in its world, which is a mistake in the plot."""


@dataclass
class World:
    """The state, and all events in order; an event is a verb and its subject and objects."""

    where: dict[Character, Place] = field(default_factory=dict)
    holder: dict[Thing, Character] = field(default_factory=dict)
    owner: dict[Thing, Character] = field(default_factory=dict)
    lies: dict[Thing, Place] = field(default_factory=dict)
    broken: set[Thing] = field(default_factory=set)
    moods: dict[Character, set[str]] = field(default_factory=dict)
    events: list[tuple[object, ...]] = field(default_factory=list)

    def _require(self, condition: bool, *event: object) -> None:
        if not condition:
            raise Contradiction(" ".join(str(part) for part in event))
        self.events.append(event)

    # -------------------------------------------------------------------------------------------------- entering

    def add_character(self, who: Character, place: Place = HOME) -> None:
        self._require(all(who.name != other.name for other in self.where), "enter", who, place)
        self.where[who] = place
        self.moods[who] = set()

    def add_thing(self, thing: Thing, held_by: Character | None = None, at: Place | None = None) -> None:
        """Add a thing that somebody holds and owns, or a thing without an owner that lies at a place."""
        named_alike = any(thing.noun == other.noun for other in (*self.holder, *self.lies))
        self._require(not named_alike and (held_by is None) != (at is None), "appear", thing)
        if held_by is not None:
            self.holder[thing] = self.owner[thing] = held_by
        elif at is not None:
            self.lies[thing] = at

    # ---------------------------------------------------------------------------------------------------- moving

    def walk(self, who: Character, place: Place) -> list[Place]:
        """Move `who` to another place; returns the places on the way."""
        start = self.where[who]
        self._require(start != place, "walk", who, place)
        self.where[who] = place
        return route(start, place)

    def together(self, *people: Character) -> bool:
        return len({self.where[who] for who in people}) == 1

    # ---------------------------------------------------------------------------------------------------- things

    def lose(self, who: Character, thing: Thing) -> None:
        """Leave a held thing at the present place."""
        self._require(self.holder.get(thing) == who, "lose", who, thing)
        del self.holder[thing]
        self.lies[thing] = self.where[who]

    def find(self, who: Character, thing: Thing) -> None:
        self._require(self.lies.get(thing) == self.where[who], "find", who, thing)
        del self.lies[thing]
        self.holder[thing] = who

    def give(self, giver: Character, thing: Thing, taker: Character, *, to_keep: bool = False) -> None:
        self._require(self.holder.get(thing) == giver and self.together(giver, taker), "give", giver, thing, taker)
        self.holder[thing] = taker
        if to_keep:
            self.owner[thing] = taker

    def break_thing(self, thing: Thing) -> None:
        self._require(thing not in self.broken, "break", thing)
        self.broken.add(thing)

    def mend(self, who: Character, thing: Thing) -> None:
        self._require(thing in self.broken and self.holder.get(thing) == who, "mend", who, thing)
        self.broken.remove(thing)

    def eat(self, who: Character, thing: Thing) -> None:
        """Remove a thing by eating it; who eats it is not hungry any more."""
        self._require(self.holder.get(thing) == who, "eat", who, thing)
        del self.holder[thing]
        self.moods[who].discard("hungry")

    # ----------------------------------------------------------------------------------------------------- moods

    def feel(self, who: Character, mood: str) -> None:
        self._require(mood not in self.moods[who], "feel", who, mood)
        self.moods[who].add(mood)

    def calm(self, who: Character, mood: str) -> None:
        self._require(mood in self.moods[who], "calm", who, mood)
        self.moods[who].remove(mood)


def route(start: Place, goal: Place) -> list[Place]:
    """The places between two places, on a shortest way over the map."""
    came_from: dict[Place, Place] = {start: start}
    frontier = [start]
    while goal not in came_from:
        reached = []
        for place in frontier:
            for neighbour in WAYS[place]:
                if neighbour not in came_from:
                    came_from[neighbour] = place
                    reached.append(neighbour)
        frontier = reached
    between = []
    place = came_from[goal]
    while place != start:
        between.append(place)
        place = came_from[place]
    return between[::-1]
