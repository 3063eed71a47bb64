"""Plots about a thing: it is lost, broken, out of reach, found, or wanted by two."""

from __future__ import annotations

from .scenes import (
    begin,
    color_thing,
    elder,
    end_alone,
    end_together,
    family,
    feel_happy,
    friend,
    one_day,
    shopkeeper,
    some_toy,
    some_treasure,
    thank,
)
from .teller import Teller
from .words import CLOTHES, HOME, OUTDOORS, PLACES, Thing


def lost(tell: Teller) -> None:
    """A treasure is lost; the hero searches in two places and finds it in a third."""
    hero = begin(tell)
    world, dice = tell.world, tell.dice
    thing = some_treasure(tell) if dice.chance(0.6) else color_thing(tell, dice.pick(CLOTHES))
    tell.cast(t=thing)
    world.add_thing(thing, held_by=hero)
    place = dice.pick(OUTDOORS)
    tell.cast(p=place, spot=dice.pick(place.spots))
    tell.say("{h} had {t.a} and took it everywhere.", "{h} had {t.a}.", "{h.he} had {t.a} and loved it very much.")
    one_day(tell, "{h} played {p.at}.", "{h} went {p.to} to play.", "{h} took the {t} {p.to}.")
    world.walk(hero, place)
    world.lose(hero, thing)
    world.walk(hero, HOME)
    tell.say(
        "when {h} came home, the {t} was gone!",
        "but when {h.he} came home, {h.he} did not have the {t}.",
        "back at home, {h} could not find the {t}.",
    )
    world.feel(hero, "sad")
    tell.say("{h} was sad.", "{h.he} began to cry.", "{h} felt very sad.")
    tell.paragraph()
    person = family(tell)
    tell.speak(person, "What is wrong, {h}?", "Why are you so sad?")
    tell.speak(hero, "I lost my {t}!", "My {t} is gone!", "I can not find my {t}!")
    wrong = dice.pick(HOME.spots)
    tell.cast(wrong=wrong)
    tell.say("they looked {wrong}, but it was not there.", "first they looked {wrong}. There was no {t}.")
    tell.speak(person, "Where did you play today?", "Where did you go today?")
    tell.speak(hero, "I was {p.at}.", "I played {p.at}!")
    tell.walk(place, hero, person)
    tell.say("they looked and looked.", "they looked all around.", "they looked here and there.")
    world.find(hero, thing)
    tell.say(
        "and there was the {t}, {spot}!", "at last, {h} saw the {t} {spot}.", "{h} looked {spot} and found the {t}!"
    )
    world.calm(hero, "sad")
    feel_happy(tell)
    thank(tell, person)
    end_alone(tell, "{h.he} must take care of {h.his} things", "it is good to ask for help")


def broken(tell: Teller) -> None:
    """A toy breaks during play, and somebody of the family repairs it."""
    hero = begin(tell)
    world, dice = tell.world, tell.dice
    _, thing = some_toy(tell)
    world.add_thing(thing, held_by=hero)
    tell.say("{h} had {t.a}.", "{h.his} best toy was {t.a}.", "{h} loved to play with {h.his} {t.full}.")
    place = dice.pick((HOME, *OUTDOORS))
    tell.cast(p=place)
    if place is HOME:
        one_day(tell, "{h} played at home with the {t}.", "{h} took the {t} and {toy.played}.")
    else:
        one_day(tell, "{h} took the {t} {p.to} and {toy.played}.", "{h} played with the {t} {p.at}.")
        world.walk(hero, place)
    world.break_thing(thing)
    tell.say(
        "but the {t} fell down and {toy.broke}.",
        "then, crack! The {t} hit a stone and {toy.broke}.",
        "but {h} fell on it, and {toy.broke}.",
    )
    world.feel(hero, "sad")
    tell.say("{h} began to cry.", "{h} was very sad.", "{h} looked at the {t} and was sad.")
    tell.paragraph()
    if place is not HOME:
        tell.walk(HOME, hero)
    person = family(tell)
    tell.speak(hero, "{M}, my {t} is broken!", "Look, my {t} is broken!", "Can you help me?")
    world.give(hero, thing, person)
    tell.speak(person, "Do not cry. We can fix it.", "Let me see. I can fix it.", "Do not be sad. I will help you.")
    world.mend(person, thing)
    tell.say(
        "{m} took {toy.mend_with} and fixed the {t}.",
        "they got {toy.mend_with} and fixed it together.",
        "{m} used {toy.mend_with}, and soon the {t} was as good as new.",
    )
    world.give(person, thing, hero)
    world.calm(hero, "sad")
    tell.maybe("{m} gave the {t} back to {h}.")
    feel_happy(tell)
    thank(tell, person)
    tell.say(
        "{h} took the {t} and {toy.played}.",
        "now {h} could {toy.play} again.",
        "after that, {h} took good care of the {t}.",
    )
    end_alone(tell, "broken things can be fixed", "it is good to ask for help")


def stuck(tell: Teller) -> None:
    """A thing is out of reach for the hero alone; together with a friend it comes down."""
    hero = begin(tell)
    world, dice = tell.world, tell.dice
    thing = color_thing(tell, dice.pick(("ball", "kite", "hat", "plane", "balloon", "cap")))
    place = dice.pick(OUTDOORS)
    tell.cast(t=thing, p=place)
    world.add_thing(thing, held_by=hero)
    one_day(tell, "{h} took {h.his} {t.full} {p.to}.", "{h} went {p.to} with {t.a}.")
    world.walk(hero, place)
    world.lose(hero, thing)
    tell.say("the wind blew and blew.", "then a big wind came.", "the wind was strong that day.")
    tell.say("it took the {t} up into a tall tree.", "the {t} flew up and got stuck in a tree.")
    tell.speak(hero, "Oh no! My {t}!", "Oh no! It is too high!", "Come down, {t}!")
    tell.say("{h} jumped, but the tree was too tall.", "{h.he} jumped and jumped, but could not get it.")
    tell.say("then {h.he} shook the tree, but the {t} did not fall.", "{h.he} threw a stick, but it did not help.")
    tell.paragraph()
    other = friend(tell, place)
    tell.say("then {f} came by.", "just then, {h.his} friend {f} came along.", "a {f.kind} named {f} saw it all.")
    tell.speak(other, "I can help you!", "Do you need help?", "Let us do it together!")
    tell.say(
        "{h} stood on the back of {f} and got the {t}.",
        "{f} found a long stick, and {h} pushed the {t} out of the tree.",
        "{f} held a ladder, and {h} went up and got the {t}.",
    )
    world.find(hero, thing)
    thank(tell, other)
    tell.maybe("{h} held the {t} tight.", "the {t} was safe again.")
    end_together(tell, "two can do more than one", "friends help each other", "it is good to ask for help")


def found(tell: Teller) -> None:
    """The hero finds a thing, asks whose it is, and gives it back to its owner."""
    place = tell.dice.pick(OUTDOORS)
    hero = begin(tell)
    world, dice = tell.world, tell.dice
    thing = some_treasure(tell)
    tell.cast(p=place, spot=dice.pick(place.spots))
    world.add_thing(thing, at=place)
    one_day(tell, "{h} went for a walk {p.to}.", "{h} went {p.to}.")
    world.walk(hero, place)
    tell.say("{spot}, {h.he} saw {t.a}.", "{h.he} found {t.a} {spot}.", "there was {t.a} {spot}!")
    world.find(hero, thing)
    tell.speak(hero, "Who lost this {t}?", "This {t} is not mine.", "Somebody must be sad.")
    tell.paragraph()
    guide = elder(tell, place)
    tell.say("{h.he} met {e.a}.", "first, {h.he} asked {e.a}.")
    tell.speak(hero, "Is this your {t}?", "Did you lose {t.a}?")
    tell.speak(guide, "No, it is not mine.", "No, I have no {t}.", "No, but I saw somebody look for it.")
    goal = dice.pick_other(OUTDOORS, place)
    other = friend(tell, goal)
    world.owner[thing] = other
    tell.walk(goal, hero)
    tell.say("a {f.kind} named {f} sat there and cried.", "there was a {f.kind} named {f}. {f.He} was very sad.")
    world.feel(other, "sad")
    tell.speak(hero, "What is wrong?", "Why are you sad?")
    tell.speak(other, "I lost my {t}!", "I can not find my {t}.")
    world.give(hero, thing, other)
    world.calm(other, "sad")
    tell.say(
        "{h} gave the {t} to {f}.",
        "{h} smiled and gave {f.him} the {t}.",
        '"Here it is!" said {h}, and gave {f.him} the {t}.',
    )
    tell.say("{f} was so happy.", "{f} stopped crying and smiled.", "{f} gave {h} a big hug.")
    end_together(tell, "it is good to give things back", "it feels good to be honest")


def quarrel(tell: Teller) -> None:
    """Two want the same toy; they pull at it, then take turns."""
    hero = begin(tell)
    world, dice = tell.world, tell.dice
    _, thing = some_toy(tell)
    place = dice.pick(OUTDOORS)
    other = friend(tell, HOME)
    tell.cast(p=place)
    one_day(tell, "{h} and {h.his} friend {f} went {p.to}.", "{h} and {f} played {p.at}.")
    world.walk(hero, place)
    world.walk(other, place)
    world.add_thing(thing, at=place)
    tell.say("they found {t.a} there.", "there they saw {t.a}.")
    tell.speak(hero, "It is mine!", "I saw it first!", "I want the {t}!")
    tell.speak(other, "No, I want it!", "No, it is mine!", "No, I saw it first!")
    tell.say("{h} pulled, and {f} pulled too.", "they pulled and pulled.", "they both pulled at the {t}.")
    tell.say("then they both fell down in the mud.", "bump! They both fell down.", "then the {t} fell into the mud.")
    tell.maybe("they looked at each other and began to laugh.", "now nobody was happy.")
    tell.paragraph()
    tell.speak(hero, "I am sorry.", "I am sorry, {f}.")
    tell.speak(other, "I am sorry too.", "Me too. Let us share.")
    first, second = (hero, other) if dice.chance(0.5) else (other, hero)
    tell.cast(first=first, second=second)
    world.find(first, thing)
    tell.say("first {first} had the {t} and {toy.played}.", "{first} took the {t} and {toy.played}.")
    world.give(first, thing, second)
    tell.say(
        "then it was the turn of {second}.",
        "then {first} gave the {t} to {second}.",
        "then {second} could {toy.play} too.",
    )
    tell.say("it was much more fun this way.", "they were both happy.", "now they both had fun.")
    end_together(tell, "it is good to share", "it is fun to take turns", "it is better to share than to fight")


def market(tell: Teller) -> None:
    """The hero has a coin for one of two things, and buys a gift for somebody of the family."""
    hero = begin(tell)
    world, dice = tell.world, tell.dice
    person = family(tell)
    coin = Thing("coin", dice.pick(("shiny", "big", "little", "old")))
    shop = dice.pick([place for place in PLACES if place.noun in ("market", "shop")])
    wish, gift = (
        some_toy(tell)[1],
        color_thing(tell, dice.pick(("scarf", "cup", "flower", "hat", "lamp", "basket", "apron"))),
    )
    tell.cast(c=coin, p=shop, w=wish, g=gift)
    world.add_thing(coin, held_by=hero)
    one_day(tell, "{h} got {c.a} from {m}.", "{m} gave {h} {c.a}.", "{h} found {c.a} in {h.his} coat.")
    tell.walk(shop, hero)
    seller = shopkeeper(tell, shop)
    tell.say("there {h.he} saw {w.a} and {g.a}.", "{h.he} looked at {w.a}. Then {h.he} saw {g.a}.")
    tell.say("{h} wanted the {w} very much.", "the {w} was so nice!", "{h.he} loved the {w}.")
    tell.say("but {m} needed a new {g}.", "but then {h.he} thought of {m}.", "but {m} had no {g}.")
    tell.say("{h} had only one coin.", "one coin was not enough for both.")
    tell.paragraph()
    tell.say("{h.he} thought and thought.", "{h} thought for a long time.", "what could {h.he} do?")
    tell.speak(hero, "I want the {g}, please.", "Can I have the {g}, please?")
    world.give(hero, coin, seller, to_keep=True)
    world.add_thing(gift, held_by=hero)
    tell.say("{h} gave away the coin and got the {g}.", "{s} took the coin and gave {h.him} the {g}.")
    tell.walk(HOME, hero)
    world.give(hero, gift, person, to_keep=True)
    tell.speak(hero, "This is for you, {M}!", "Look, {M}! I have a gift for you!")
    tell.say("{m} was very happy with the {g}.", "{m} loved the {g}.", "{m} smiled and gave {h} a big hug.")
    end_alone(tell, "it feels good to give", "a gift makes two people happy")


PLOTS = (lost, broken, stuck, found, quarrel, market)
