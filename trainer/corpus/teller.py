"""Turns what happens into sentences: chooses a wording, fills in the words, keeps the paragraphs."""

from __future__ import annotations

from dataclasses import dataclass, field

from .dice import Dice
from .words import HOME, Character, Place
from .world import World


@dataclass
class Teller:
    """The story so far. `words` maps the short names that wordings use (`{h}` the hero) to what they stand for."""

    dice: Dice
    world: World = field(default_factory=World)
    words: dict[str, object] = field(default_factory=dict)
    paragraphs: list[list[str]] = field(default_factory=lambda: [[]])
    divided: bool = False
    """Paragraphs are shown as such; else the story is one paragraph."""

    def cast(self, **words: object) -> None:
        """Bind names for the wordings that follow."""
        self.words.update(words)

    def say(self, *wordings: str) -> None:
        """Add one of the wordings, its fields filled in."""
        text = self.dice.pick(wordings).format_map(self.words)
        self.paragraphs[-1].append(text[0].upper() + text[1:])

    def maybe(self, *wordings: str) -> None:
        """Add one of the wordings, or nothing."""
        if self.dice.chance(0.5):
            self.say(*wordings)

    def speak(self, who: Character, *lines: str) -> None:
        """Somebody says one of the lines; the verb and the order vary.

        The speaker is now and then a pronoun, when nobody else in the story goes by the same one.
        """
        line = self.dice.pick(lines).format_map(self.words)
        line = line[0].upper() + line[1:]
        alone = all(other == who or other.female != who.female for other in self.world.where)
        verb = {"?": "asked", "!": self.dice.pick(("said", "cried"))}.get(line[-1], "said")
        name = who.he if alone and self.dice.chance(0.4) else who.name
        if self.dice.chance(0.5):
            text = f'{name} {verb}, "{line}"'
            text = text[0].upper() + text[1:]
        else:
            quoted = line[:-1] + "," if line[-1] == "." else line
            text = f'"{quoted}" {verb} {name}.' if name == who.name else f'"{quoted}" {name} {verb}.'
        self.paragraphs[-1].append(text)

    def paragraph(self) -> None:
        """Begin a new paragraph, when the story has them."""
        if self.divided and self.paragraphs[-1]:
            self.paragraphs.append([])

    def walk(self, place: Place, *who: Character) -> None:
        """One or two characters who are together go somewhere, past what the map has between."""
        self.cast(walkers=" and ".join(person.name for person in who), goal=place)
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
        """The whole story; paragraphs stand on lines of their own."""
        return "\n".join(" ".join(sentences) for sentences in self.paragraphs if sentences)
