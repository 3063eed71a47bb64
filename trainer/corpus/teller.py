"""Turns events into sentences: chooses a wording, fills in the words, divides the story into paragraphs."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from .dice import Dice
from .words import ALL_NAMES, HOME, Character, Place
from .world import World

_SUBJECT = re.compile(r"\{(?P<name>\w+)(\.[Hh]e)?\} (?!and )")
"""The start of a wording with a single subject: `{h} went`, `{h.he} went`, but not `{h} and {f} went`."""

_MEMORY = 3
"""Number of sentences after which a pronoun no longer refers to somebody."""


@dataclass
class Teller:
    """The story so far. `words` maps the short names in wordings, such as `{h}` for the hero, to objects."""

    dice: Dice
    names: int = ALL_NAMES
    """Number of names of each kind to choose from."""
    world: World = field(default_factory=World)
    words: dict[str, object] = field(default_factory=dict)
    paragraphs: list[list[str]] = field(default_factory=lambda: [[]])
    subjects: list[Character | None] = field(default_factory=list)
    """The subject of each sentence, or None."""
    divided: bool = False
    """Whether the story is divided into paragraphs; else it is one paragraph."""

    def cast(self, **words: object) -> None:
        """Set the objects of short names for the next wordings."""
        self.words.update(words)

    def say(self, *wordings: str) -> None:
        """Add a sentence from one of the wordings; a subject may become a pronoun if the pronoun is clear."""
        wording = self.dice.pick(wordings)
        text = wording.format_map(self.words)
        match = _SUBJECT.match(wording)
        subject = self.words[match["name"]] if match else None
        who = subject if isinstance(subject, Character) else None
        if who and text.startswith(who.name) and self._pronoun_is_clear(who, text) and self.dice.chance(0.8):
            text = who.he + text[len(who.name) :]
        self._add(text, who)

    def maybe(self, *wordings: str) -> None:
        """Add a sentence from one of the wordings, or nothing."""
        if self.dice.chance(0.5):
            self.say(*wordings)

    def speak(self, who: Character, *lines: str) -> None:
        """Add a sentence in which `who` says one of the lines; the verb and the word order vary.

        The speaker may become a pronoun if the pronoun is clear.
        """
        line = self.dice.pick(lines).format_map(self.words)
        line = line[0].upper() + line[1:]
        verb = {"?": "asked", "!": self.dice.pick(("said", "cried"))}.get(line[-1], "said")
        name = who.he if self._pronoun_is_clear(who, line) and self.dice.chance(0.8) else who.name
        if self.dice.chance(0.5):
            text = f'{name} {verb}, "{line}"'
        else:
            quoted = line[:-1] + "," if line[-1] == "." else line
            text = f'"{quoted}" {verb} {name}.' if name == who.name else f'"{quoted}" {name} {verb}.'
        self._add(text, who)

    def _add(self, text: str, subject: Character | None) -> None:
        self.paragraphs[-1].append(text[0].upper() + text[1:])
        self.subjects.append(subject)

    def _pronoun_is_clear(self, who: Character, text: str) -> bool:
        """Whether `who` was a recent subject, and nobody with the same pronoun occurs in recent sentences or `text`."""
        recent = " ".join(self.paragraphs[-1][-_MEMORY:])
        if who not in self.subjects[-_MEMORY:] or not recent:
            return False
        near = f"{recent} {text}".lower()
        others = (other for other in self.world.where if other != who and other.female == who.female)
        return not any(other.name.lower() in near for other in others)

    def paragraph(self) -> None:
        """Begin a new paragraph if the story is divided."""
        if self.divided and self.paragraphs[-1]:
            self.paragraphs.append([])

    def walk(self, place: Place, *who: Character) -> None:
        """One or two characters in the same place go to `place`; the sentence may name a place on the way."""
        self.cast(walkers=who[0] if len(who) == 1 else " and ".join(person.name for person in who), goal=place)
        between: list[Place] = []
        for person in who:
            between = self.world.walk(person, place)
        if between and place is not HOME and between[0] is not HOME and self.dice.chance(0.5):
            self.cast(between=between[0])
            self.say(
                "{walkers} went past {between.the} {goal.to}.", "{walkers} walked by {between.the} and came {goal.to}."
            )
        else:
            self.say("{walkers} went {goal.to}.", "{walkers} walked {goal.to}.", "{walkers} ran {goal.to}.")

    def text(self) -> str:
        """The whole story; each paragraph is a line."""
        return "\n".join(" ".join(sentences) for sentences in self.paragraphs if sentences)
