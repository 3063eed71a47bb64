"""Scenes that many plots share: beginnings, new characters, endings."""

from __future__ import annotations

from .teller import Teller
from .words import (
    ANIMAL_KINDS,
    AT_HOME,
    BOYS,
    COLORS,
    ELDER_KINDS,
    FOODS,
    GIRLS,
    HE_ANIMALS,
    HOME,
    LOOKS,
    OUTDOORS,
    SHE_ANIMALS,
    TOYS,
    TRAITS,
    TREASURES,
    Character,
    Place,
    Thing,
    Toy,
    relative,
)


def somebody(tell: Teller, animal: bool, female: bool) -> Character:
    """A new character, with a name that nobody else in the story has."""
    names: tuple[str, ...]
    if animal:
        names, kind = (SHE_ANIMALS if female else HE_ANIMALS), tell.dice.pick(ANIMAL_KINDS)
    else:
        names, kind = (GIRLS if female else BOYS), ("girl" if female else "boy")
    taken = [who.name for who in tell.world.where]
    taken_kinds = [who.kind for who in tell.world.where]
    if animal and kind in taken_kinds:
        kind = tell.dice.pick_other(ANIMAL_KINDS, *taken_kinds)
    return Character(tell.dice.pick_other(names[: tell.names], *taken), kind, female)


def begin(tell: Teller, place: Place | None = None) -> Character:
    """Introduce the hero `{h}`, at home or at a place."""
    hero = somebody(tell, animal=tell.dice.chance(0.4), female=tell.dice.chance(0.5))
    tell.divided = tell.dice.chance(0.3)
    tell.world.add_character(hero, place or HOME)
    tell.cast(
        h=hero, trait=tell.dice.pick(TRAITS), near=tell.dice.pick([place for place in OUTDOORS if place.noun != "yard"])
    )
    if tell.dice.chance(0.5):
        tell.say(
            "once upon a time, there was a {trait} {h.kind} named {h}.",
            "once upon a time, there was a little {h.kind} named {h}.",
            "once upon a time, a little {h.kind} named {h} lived near {near.the}.",
        )
    else:
        tell.say(
            "{h} was a {trait} little {h.kind}.",
            "there once was a {h.kind} named {h}.",
            "{h} was a {h.kind} who lived near {near.the}.",
            "a {trait} {h.kind} named {h} lived in a small house.",
        )
    return hero


def one_day(tell: Teller, *wordings: str) -> None:
    """Add a sentence that starts the action; each wording continues after "one day"."""
    when = tell.dice.pick(("one day,", "one morning,", "one sunny day,", "one warm day,", "one day after lunch,"))
    tell.say(*(f"{when} {wording}" for wording in wordings))


def friend(tell: Teller, place: Place) -> Character:
    """Add a companion `{f}` at a place, a child or an animal like the hero; no sentence mentions it yet.

    Mostly of the other gender, so that pronouns are clear.
    """
    hero = tell.words["h"]
    assert isinstance(hero, Character)
    other = somebody(tell, hero.kind in ANIMAL_KINDS, female=hero.female != tell.dice.chance(0.8))
    tell.world.add_character(other, place)
    tell.cast(f=other)
    return other


def family(tell: Teller, *roles: str) -> Character:
    """Add a relative `{m}` of the hero, at home."""
    hero = tell.words["h"]
    assert isinstance(hero, Character)
    person = relative(hero, tell.dice.pick(roles or ("mom", "dad", "grandma", "grandpa")))
    tell.world.add_character(person, HOME)
    tell.cast(m=person, M=person.kind.capitalize())
    return person


def elder(tell: Teller, place: Place) -> Character:
    """Add a wise animal `{e}` without a name, at a place."""
    kind = tell.dice.pick(ELDER_KINDS)
    animal = Character(f"the {kind}", f"old {kind}", tell.dice.chance(0.5))
    tell.world.add_character(animal, place)
    tell.cast(e=animal)
    return animal


def shopkeeper(tell: Teller, place: Place) -> Character:
    """Add somebody `{s}` who sells things at a place."""
    name, female = tell.dice.pick((("the old man", False), ("the old woman", True), ("the baker", True)))
    seller = Character(name, name.removeprefix("the "), female)
    tell.world.add_character(seller, place)
    tell.cast(s=seller)
    return seller


def color_thing(tell: Teller, noun: str) -> Thing:
    """A thing with a colour or a look, except one equal to its noun ("an orange orange")."""
    adjectives = COLORS if tell.dice.chance(0.6) else LOOKS
    return Thing(noun, tell.dice.pick_other(adjectives, noun))


def some_toy(tell: Teller) -> tuple[Toy, Thing]:
    """Choose a toy: `{t}` is the thing, and `{toy.play}` says how to play with it."""
    toy = tell.dice.pick(TOYS)
    thing = color_thing(tell, toy.noun)
    tell.cast(t=thing, toy=toy)
    return toy, thing


def some_treasure(tell: Teller) -> Thing:
    thing = color_thing(tell, tell.dice.pick(TREASURES))
    tell.cast(t=thing)
    return thing


def some_food(tell: Teller) -> Thing:
    thing = Thing(tell.dice.pick(FOODS), tell.dice.pick(("big", "sweet", "little", "fresh", "nice")))
    tell.cast(t=thing)
    return thing


def feel_happy(tell: Teller) -> None:
    tell.say(
        "{h} was very happy.",
        "{h} felt happy again.",
        "{h} had a big smile.",
        "{h} was so glad that {h.he} jumped up and down.",
    )


def thank(tell: Teller, helper: Character) -> None:
    """The hero thanks somebody who is there."""
    hero = tell.words["h"]
    assert isinstance(hero, Character) and tell.world.together(hero, helper)
    tell.cast(helper=helper)
    if tell.dice.chance(0.5):
        tell.speak(hero, "Thank you!", "Thank you so much!", "Thank you for your help!")
    else:
        tell.say("{h} thanked {helper}.", "{h} gave {helper} a big hug.", "{h} thanked {helper} and smiled.")


def end_together(tell: Teller, *lessons: str) -> None:
    """An ending for the hero and the friend, who are in one place."""
    hero, other = tell.words["h"], tell.words["f"]
    assert isinstance(hero, Character) and isinstance(other, Character) and tell.world.together(hero, other)
    tell.say(
        "{h} and {f} played until the sun went down.",
        "from that day on, {h} and {f} were best friends.",
        "{h} and {f} laughed and played all day.",
        "after that, {h} and {f} played together every day.",
    )
    learn(tell, *lessons)


def end_alone(tell: Teller, *lessons: str) -> None:
    """An ending for the hero: perhaps the way home, perhaps to bed."""
    hero = tell.words["h"]
    assert isinstance(hero, Character)
    if tell.world.where[hero] not in AT_HOME and tell.dice.chance(0.5):
        tell.world.walk(hero, HOME)
        tell.say("then {h} went home with a smile.", "{h} sang all the way home.", "it was late, and {h} went home.")
    if tell.world.where[hero] in AT_HOME:
        tell.maybe(
            "that night, {h} slept very well.", "that night, {h} had a good dream.", "{h} went to bed with a smile."
        )
    learn(tell, *lessons)


def learn(tell: Teller, *lessons: str) -> None:
    """End with what the hero learned, or with a general sentence, or with nothing."""
    if lessons and tell.dice.chance(0.6):
        tell.cast(lesson=tell.dice.pick(lessons).format_map(tell.words))
        tell.say("{h} learned that {lesson}.", "{h} knew now that {lesson}.", "that day, {h} learned that {lesson}.")
    else:
        tell.maybe("the end.", "it was a very good day.", "it was the best day ever.")
