"""Plots about other characters: hungry, lonely, lost, treated badly, hidden, slower, or needed for help."""

from __future__ import annotations

from .scenes import (
    begin,
    color_thing,
    elder,
    end_alone,
    end_together,
    family,
    friend,
    one_day,
    some_food,
    some_toy,
    thank,
)
from .teller import Teller
from .words import BIG_FOODS, HOME, OUTDOORS, PLACES, Character, Thing


def share_food(tell: Teller) -> None:
    """The hero gives half of the only food to somebody who is hungry."""
    hero = begin(tell)
    world, dice = tell.world, tell.dice
    place = dice.pick(OUTDOORS)
    food = some_food(tell)
    person = family(tell)
    tell.cast(p=place)
    world.add_thing(food, held_by=person)
    one_day(tell, "{m} gave {h} {t.a}.", "{h} got {t.a} from {m}.")
    world.give(person, food, hero, to_keep=True)
    tell.walk(place, hero)
    tell.say("{h.he} sat down to eat.", "{h} wanted to eat the {t} there.", "the {t} looked so good.")
    other = friend(tell, place)
    world.feel(other, "hungry")
    tell.say(
        "then {h.he} saw a {f.kind} named {f}.",
        "a {f.kind} named {f} came and looked at the {t}.",
        "a {f.kind} sat there too. {f.His} name was {f}.",
    )
    tell.speak(other, "I am so hungry.", "I have no food.", "I did not eat today.")
    tell.paragraph()
    tell.say(
        "{h} looked at {h.his} {t}. There was only one.",
        "{h} thought about it.",
        "{h} was hungry too, but {f} looked so sad.",
    )
    tell.speak(hero, "We can share!", "You can have half of my {t}!", "Here, let us eat it together!")
    tell.say("{h} cut the {t} in two and gave {f} the big half.", "{h} gave half of the {t} to {f}.")
    world.eat(hero, food)
    world.calm(other, "hungry")
    tell.say("they ate the {t} together.", "they sat and ate, and it was yummy.", "the {t} was very good.")
    tell.speak(other, "Thank you, {h}!", "That was so good!", "You are very kind!")
    tell.say("now {f} was not hungry any more.", "{f} was full and happy.", "{f} smiled a big smile.")
    end_together(tell, "it is good to share", "food is better with a friend")


def new_friend(tell: Teller) -> None:
    """A lonely hero asks a shy newcomer to play."""
    hero = begin(tell)
    world, dice = tell.world, tell.dice
    place = dice.pick(OUTDOORS)
    _toy, thing = some_toy(tell)
    tell.cast(p=place)
    world.add_thing(thing, held_by=hero)
    world.feel(hero, "lonely")
    tell.say("{h} had {t.a}, but no friend to play with.", "{h} had no friends and felt alone.", "{h} wanted a friend.")
    one_day(tell, "{h} took {h.his} {t.full} {p.to}.", "{h} went {p.to} with {h.his} {t.full}.")
    world.walk(hero, place)
    other = friend(tell, place)
    tell.say(
        "{h.he} saw a {f.kind} who sat all alone.",
        "there was a {f.kind} who looked sad.",
        "a new {f.kind} was there, too.",
    )
    tell.say("{h} was a little afraid, but {h.he} went over.", "{h} walked over to {f.him}.", "{h} smiled at {f.him}.")
    tell.speak(hero, "Hi, I am {h}. What is your name?", "Hello! What is your name?")
    tell.speak(other, "My name is {f}.", "I am {f}. I am new here.", "I am {f}.")
    tell.paragraph()
    tell.speak(hero, "Do you want to play with my {t}?", "Can you {toy.play} with me?", "Do you want to play with me?")
    tell.say("{f} smiled and said yes.", '{f} jumped up. "Yes!" {f.he} said.', "{f} was very happy.")
    world.give(hero, thing, other)
    tell.say("{f} took the {t} and {toy.played}.", "{h} gave {f.him} the {t}, and {f} {toy.played}.")
    world.give(other, thing, hero)
    tell.say("then it was the turn of {h}.", "then {f} gave it back, and {h} played too.")
    world.calm(hero, "lonely")
    tell.say("{h} was not alone any more.", "now {h} had a friend.", "it was fun to play together.")
    end_together(tell, "it is easy to make a friend", "a smile can make a friend")


_BABIES = (("bird", "bird"), ("kitten", "cat"), ("puppy", "dog"), ("lamb", "sheep"), ("chick", "hen"), ("calf", "cow"))


def lost_baby(tell: Teller) -> None:
    """A lost baby animal is led from place to place, until its mother is found."""
    hero = begin(tell)
    world, dice = tell.world, tell.dice
    place = dice.pick(OUTDOORS)
    home = dice.pick_other(OUTDOORS, place)
    kind, mother_kind = dice.pick(_BABIES)
    baby = Character(f"the {kind}", f"little {kind}", dice.chance(0.5))
    world.add_character(baby, place)
    world.feel(baby, "afraid")
    mother = Character(f"the {mother_kind}" if mother_kind != kind else "the mother", mother_kind, True)
    world.add_character(mother, home)
    tell.cast(b=baby, o=mother, p=place, q=home)
    one_day(tell, "{h} went {p.to} and saw {b.a}.", "{h} walked {p.to}. There {h.he} saw {b.a}.")
    world.walk(hero, place)
    tell.say("{b} was all alone and afraid.", "{b} cried and cried.", "{b} was small and cold.")
    tell.speak(hero, "Where is your mom?", "Are you lost?", "Why do you cry, little one?")
    tell.speak(baby, "I can not find my mom!", "I am lost!", "I want to go home!")
    tell.speak(hero, "Do not be afraid. I will help you.", "Come with me. We will find her.")
    tell.paragraph()
    guide = elder(tell, place)
    tell.say("first they asked {e.a}.", "they met {e.a} on the path.", "{e.a} came by.")
    tell.speak(hero, "Did you see a big {o.kind}?", "Do you know where {b.his} mom is?")
    tell.speak(guide, "Yes, I saw her {q.at}.", "Go {q.to}. She is there.", "I saw her. She went {q.to}.")
    tell.walk(home, hero, baby)
    tell.say("there was a big {o.kind}!", "and there they saw a big {o.kind}.")
    tell.speak(mother, "My baby! I looked for you all day!", "There you are! I was so afraid!")
    world.calm(baby, "afraid")
    tell.say("{b} ran to {b.his} mom and was happy.", "{b} was safe now.", "{b} and {b.his} mom hugged.")
    tell.speak(mother, "Thank you, {h}!", "You are so kind, {h}!")
    tell.say("{h} was proud.", "{h} felt warm and happy.", "{h} said goodbye and waved.")
    end_alone(tell, "it is good to help", "even small ones can help")


def truth(tell: Teller) -> None:
    """The hero breaks something that belongs to the family, hides it, tells the truth, and is forgiven."""
    hero = begin(tell)
    world, dice = tell.world, tell.dice
    person = family(tell)
    thing = color_thing(tell, dice.pick(("cup", "lamp", "vase", "plate", "bowl", "pot", "clock")))
    toy = color_thing(tell, dice.pick(("ball", "car", "plane", "drum")))
    room = dice.pick([place for place in PLACES if place.noun in ("kitchen", "attic")])
    tell.cast(t=thing, w=toy, p=room, spot=dice.pick(room.spots))
    world.add_thing(thing, held_by=person)
    world.add_thing(toy, held_by=hero)
    tell.say("{m} had {t.a}.", "{m} loved {m.his} {t.full}.")
    one_day(tell, "{h} played with {h.his} {w.full} {p.at}.", "{h} took {h.his} {w.full} and played {p.at}.")
    world.walk(hero, room)
    world.break_thing(thing)
    tell.say(
        "{h.he} ran too fast, and the {t} fell down.", "bump! The {w} hit the {t}.", "the {w} hit the {t}, and it fell."
    )
    tell.say("the {t} was broken.", "now the {t} was in many little pieces.")
    world.feel(hero, "afraid")
    tell.say("{h} was afraid.", "{h} felt very bad.", "{h} did not know what to do.")
    tell.say("{h.he} hid the pieces {spot}.", "{h} put the {t} {spot}, so that nobody could see it.")
    tell.paragraph()
    world.walk(person, room)
    tell.say("then {m} came in.", "soon {m} came home.")
    tell.speak(person, "Where is my {t}?", "Did you see my {t}, {h}?")
    tell.say("{h} looked down.", "{h} wanted to say no.", "{h} was quiet for a long time.")
    tell.say("but {h.he} did not want to lie.", "then {h.he} told the truth.")
    tell.speak(hero, "I broke it. I am sorry.", "I am sorry. I broke your {t}.")
    world.calm(hero, "afraid")
    tell.speak(
        person,
        "Thank you for telling me the truth.",
        "I am not angry. You told the truth.",
        "It is only a {t}. I love you more.",
    )
    tell.say("{m} gave {h} a hug.", "they hugged, and {h} felt better.")
    tell.say("then they picked up the pieces together.", "together they made a new {t}.", "{h} helped {m} to clean up.")
    end_alone(tell, "it is good to tell the truth", "the truth makes the heart light")


def hide_and_seek(tell: Teller) -> None:
    """Hide and seek: the hero looks in two wrong spots and then finds the friend."""
    hero = begin(tell)
    world, dice = tell.world, tell.dice
    place = dice.pick(OUTDOORS)
    other = friend(tell, place)
    spot = dice.pick(place.spots)
    wrong = [option for option in place.spots if option != spot]
    tell.cast(p=place, spot=spot, one=wrong[0], two=wrong[1], n=dice.pick(("five", "ten", "twenty")))
    one_day(tell, "{h} went {p.to} to play with {f}.", "{h} met {h.his} friend {f} {p.at}.")
    world.walk(hero, place)
    tell.speak(other, "Let us play hide and seek!", "Do you want to play hide and seek?")
    tell.say("{h} closed {h.his} eyes and counted to {n}.", "{h} counted to {n}, and {f} ran to hide.")
    tell.say("then {h} began to look.", '"Here I come!" said {h}.')
    tell.say("{h.he} looked {one}, but {f} was not there.", "was {f} {one}? No, nobody was there.")
    tell.say("{h.he} looked {two}, but there was no {f}.", "was {f} {two}? No, there was only a bug.")
    tell.paragraph()
    tell.say("then {h} heard a funny sound.", "then somebody laughed.", '"Hee hee," somebody laughed.')
    tell.say("{h} looked {spot}.", "{h.he} went to look {spot}.")
    tell.speak(hero, "I found you!", "There you are, {f}!", "I see you!")
    tell.say("{f} came out and laughed.", "{f} jumped up and laughed.")
    tell.speak(other, "You are very good at this!", "Now it is my turn to look!", "That was fun! Let us do it again!")
    end_together(tell, "it is good not to give up", "games are more fun with a friend")


def race(tell: Teller) -> None:
    """A race: the faster one turns back to help the one who fell, and both reach the goal together."""
    hero = begin(tell)
    world, dice = tell.world, tell.dice
    place = dice.pick(OUTDOORS)
    other = friend(tell, HOME)
    goal = dice.pick_other(OUTDOORS, place)
    tell.cast(p=place, q=goal)
    one_day(tell, "{h} and {f} were {p.at}.", "{h} met {f} {p.at}.")
    world.walk(hero, place)
    world.walk(other, place)
    tell.speak(other, "I can run faster than you!", "Let us have a race!", "Who can run faster?")
    tell.speak(hero, "Let us run {q.to}!", "Yes, let us race {q.to}!")
    tell.say("one, two, three, go!", '"Go!" they cried.', "they began to run.")
    first, last = (hero, other) if dice.chance(0.5) else (other, hero)
    tell.cast(first=first, last=last)
    tell.say("{first} was very fast.", "{first} ran like the wind.", "soon {first} was far in front.")
    tell.say(
        "but {last} fell and hurt {last.his} leg.", "then {last} fell over a stone.", "but {last} fell into the mud."
    )
    world.feel(last, "hurt")
    tell.say("{last} began to cry.", "{last} could not run any more.")
    tell.paragraph()
    tell.say("{first} heard it and stopped.", "{first} looked back and saw {last}.")
    tell.say(
        "{first.he} wanted to win, but {first.he} ran back.",
        "{first.he} did not think of the race. {first.He} went back.",
    )
    tell.speak(first, "Are you hurt?", "Take my hand!", "I will help you!")
    world.calm(last, "hurt")
    tell.say("{first} helped {last} to stand up.", "{last} took {first.his} hand and stood up.")
    for runner in (hero, other):
        world.walk(runner, goal)
    tell.say("they walked {q.to} together.", "side by side, they came {q.to}.")
    tell.speak(last, "You are a good friend, {first}.", "Now we both win!", "Thank you, {first}!")
    end_together(tell, "a friend is better than a win", "it is good to help a friend")


def pull(tell: Teller) -> None:
    """Something is too heavy for one and for two; three can pull it out."""
    hero = begin(tell)
    world, dice = tell.world, tell.dice
    place = dice.pick([place for place in OUTDOORS if place.noun in ("garden", "field", "farm", "yard")])
    thing = Thing(dice.pick(BIG_FOODS), dice.pick(("big", "huge", "giant")))
    tell.cast(t=thing, p=place)
    world.add_thing(thing, at=place)
    one_day(tell, "{h} saw {t.a} {p.at}.", "{h} went {p.to} and found {t.a}.")
    world.walk(hero, place)
    tell.say("{h} wanted to take it home.", "{h.he} wanted to make soup with it.")
    tell.say("{h.he} pulled and pulled, but it did not move.", "but the {t} was too heavy for {h.him}.")
    friend(tell, place)
    tell.say("so {h} called {h.his} friend {f}.", "{h} saw {h.his} friend {f}.", "{h.his} friend {f} was there, too.")
    tell.speak(hero, "Help me, {f}!", "{f}, can you help me?", "Come and help me, {f}!")
    tell.say("{f} came and pulled too.", "{h} and {f} pulled together.")
    tell.say("but the {t} did not move.", "still, it was too heavy.")
    tell.paragraph()
    helper = elder(tell, place)
    tell.say("then {e.a} came by.", "{e.a} saw them and came to help.")
    tell.speak(helper, "Let me help you!", "I am strong. Let us pull together!")
    tell.say("one, two, three! They all pulled.", "they all pulled as hard as they could.")
    world.find(hero, thing)
    tell.say("pop! The {t} came out.", "and then the {t} moved!", "at last, the {t} came out, and they all fell down.")
    thank(tell, helper)
    tell.say("they made a big pot of soup.", "they cut the {t} and all had some.")
    tell.say("there was enough for everyone.", "it was very yummy.")
    world.eat(hero, thing)
    end_together(tell, "it is easy when all help", "many hands can do more")


PLOTS = (share_food, new_friend, lost_baby, truth, hide_and_seek, race, pull)
