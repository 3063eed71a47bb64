"""Plots about the events of a day: night, rain, snow, a seed, a birthday, something to learn."""

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
    some_toy,
    thank,
)
from .teller import Teller
from .words import CLOTHES, HOME, OUTDOORS, PLACES, Place, Thing, with_article


def dark(tell: Teller) -> None:
    """A sound in the night turns out to be harmless."""
    hero = begin(tell)
    world, dice = tell.world, tell.dice
    sound, maker = dice.pick(
        (
            ("tap, tap, tap", "a branch at the window"),
            ("whoo, whoo", "an old owl in the tree"),
            ("scratch, scratch", "a little mouse with a nut"),
            ("bump, bump", "a door in the wind"),
            ("drip, drip, drip", "the rain on the roof"),
            ("ribbit, ribbit", "a small frog in the garden"),
        )
    )
    tell.cast(sound=sound, Sound=sound.capitalize(), maker=maker, light=dice.pick(("lamp", "candle", "light")))
    tell.say("one night, {h} could not sleep.", "one night, {h} was in bed.", "it was night, and {h} was in bed.")
    tell.say("it was very dark.", "there was no moon.", "the house was dark and quiet.")
    tell.say('"{sound}," it went outside.', 'then there was a sound: "{sound}."', 'then {h} heard a sound. "{Sound}!"')
    world.feel(hero, "afraid")
    tell.speak(hero, "What is that?", "Who is there?", "Is it a monster?")
    tell.say("{h} was afraid and hid under the blanket.", "{h.he} was so afraid that {h.he} could not move.")
    tell.paragraph()
    person = family(tell)
    if dice.chance(0.5):
        tell.say("{h} called for {m}.", "{h} ran to {m}.")
        tell.speak(person, "Do not be afraid. Let us look.", "We will look together.")
        tell.say("{m} took a {light}, and they went to look.", "they took a {light} and held hands.")
        tell.say("it was only {maker}!", "what did they see? It was {maker}!")
    else:
        tell.say("but {h} wanted to be brave.", 'then {h} said, "I am brave."')
        tell.say("{h.he} took a {light} and went to look.", "step by step, {h.he} went with a {light}.")
        tell.say("it was only {maker}!", "what did {h.he} see? It was {maker}!")
        tell.say("{h} told {m} about it.", "{m} heard {h} laugh and came in.")
        tell.speak(person, "You are so brave!", "I am proud of you, {h}!")
    world.calm(hero, "afraid")
    tell.say("{h} laughed.", "{h} was not afraid any more.", "they both laughed.")
    tell.say("then {h} went back to bed and slept.", "soon {h} was asleep.", "{m} gave {h} a kiss and said good night.")
    end_alone(tell, "the dark is not bad", "it is good to be brave", "a small sound can seem big at night")


def rain(tell: Teller) -> None:
    """Rain spoils an outing; the day is saved indoors, and a rainbow comes."""
    hero = begin(tell)
    world, dice = tell.world, tell.dice
    place = dice.pick(OUTDOORS)
    person = family(tell)
    _toy, thing = some_toy(tell)
    world.add_thing(thing, held_by=hero)
    tell.cast(p=place)
    one_day(tell, "{h} and {m} wanted to go {p.to}.", "{h} wanted to play {p.at} with {m}.")
    tell.say("{h} took {h.his} {t.full}.", "{h} was ready to go.", "{m} put some food in a basket.")
    tell.say(
        "but then it began to rain.",
        "but the sky was gray, and it rained and rained.",
        "then a big cloud came, and it rained.",
    )
    world.feel(hero, "sad")
    tell.speak(hero, "Oh no! Now we can not go!", "I do not like the rain!", "Rain, go away!")
    tell.say("{h} looked out of the window and was sad.", "{h} sat on the floor and was sad.")
    tell.paragraph()
    tell.speak(person, "We can have fun at home!", "I have an idea!", "Do not be sad. Let us play here!")
    tell.say(
        "they made a small house out of a blanket.",
        "they sat on a blanket on the floor and ate.",
        "they danced and sang in the kitchen.",
        "they played with the {t}.",
    )
    world.calm(hero, "sad")
    tell.say("{h} laughed and had fun.", "it was so much fun that {h} forgot the rain.")
    tell.say("then the rain stopped, and the sun came out.", "after a while, the sun came out.")
    tell.speak(hero, "Look! A rainbow!", "{M}, there is a rainbow!")
    tell.say("it was red, yellow, green and blue.", "it was the best rainbow ever.", "they looked at it together.")
    end_alone(tell, "a rainy day can be fun", "there is fun in every day")


def snow(tell: Teller) -> None:
    """A snowman needs a nose and something to wear, and the hero gets both."""
    hero = begin(tell)
    world, dice = tell.world, tell.dice
    other = friend(tell, HOME)
    place = dice.pick(
        [place for place in OUTDOORS if place.noun in ("yard", "park", "hill", "garden", "meadow", "field")]
    )
    wear = color_thing(tell, dice.pick(CLOTHES[:4]))
    nose = Thing("carrot", dice.pick(("long", "big", "orange", "old")))
    tell.cast(p=place, t=wear, c=nose)
    tell.say("one day, it was very cold, and there was snow.", "one winter day, it snowed and snowed.")
    tell.say("{h} and {f} went {p.to} to make a snowman.", "{h} and {f} wanted to make a snowman {p.at}.")
    world.walk(hero, place)
    world.walk(other, place)
    tell.say(
        "they made a big ball, then a small ball.", "they rolled the snow into big balls.", "they worked and worked."
    )
    tell.speak(other, "He has no nose!", "Our snowman needs a nose!")
    world.add_thing(nose, held_by=hero)
    tell.say("{h} had {c.a} and gave it to the snowman.", "{h} ran home and came back with {c.a}.")
    tell.paragraph()
    tell.speak(hero, "Now he is cold.", "He needs something warm!", "He looks cold.")
    world.add_thing(wear, held_by=other)
    tell.say("{f} had {t.a} and put it on the snowman.", "{f} took off {f.his} {t.full} and gave it to him.")
    tell.say("now the snowman looked very nice.", "now the snowman was not cold.", "the snowman seemed to smile.")
    tell.speak(hero, "He is our friend!", "He is the best snowman!")
    tell.say("they danced around the snowman.", "they sang a song for him.")
    tell.maybe("then they drank hot milk.", "their hands were cold, but they were happy.")
    end_together(tell, "work is fun with a friend", "together they could make big things")


def seed(tell: Teller) -> None:
    """A seed needs water and time."""
    hero = begin(tell)
    world, dice = tell.world, tell.dice
    person = family(tell)
    plant = dice.pick(("flower", "pumpkin", "carrot", "apple tree", "melon", "turnip"))
    place = dice.pick([place for place in OUTDOORS if place.noun in ("garden", "yard", "meadow", "field")])
    tell.cast(plant=plant, p=place, size=dice.pick(("small", "little", "tiny")))
    one_day(tell, "{m} gave {h} a {size} seed.", "{h} got a {size} seed from {m}.")
    tell.speak(person, "Put it in the ground and give it water.", "It needs water, sun and time.")
    world.walk(hero, place)
    tell.say("{h} made a hole {p.at} and put the seed in.", "{h} put the seed in the ground {p.at}.")
    tell.say("every day, {h.he} gave it water.", "{h.he} gave it water every morning.")
    tell.say(
        "but nothing came up.",
        "one day went by, then two. Nothing came up.",
        "{h} looked and looked, but there was nothing.",
    )
    world.feel(hero, "sad")
    tell.speak(hero, "It does not grow!", "Why does it not grow?", "Maybe the seed is bad.")
    tell.paragraph()
    world.walk(person, place)
    tell.speak(person, "You must wait.", "Give it time, {h}.", "Good things need time.")
    tell.say("so {h} waited.", "{h} waited and gave it more water.", "the sun came, and the rain came.")
    tell.say("then one morning, {h} saw something green.", "after many days, a little green leaf came up.")
    world.calm(hero, "sad")
    tell.speak(hero, "It grows! It grows!", "Look, {M}! It is green!")
    tell.say("it grew and grew.", "every day it was bigger.")
    tell.cast(a_plant=with_article(plant))
    tell.say("soon it was {a_plant}.", "at last, it was a big {plant}.", "in the end, there was a big {plant} {p.at}.")
    tell.say("{h} was very proud.", "{h} and {m} were very happy.", "{m} was proud of {h}.")
    end_alone(tell, "good things take time", "it is good to wait", "small things can grow big")


def birthday(tell: Teller) -> None:
    """A cake needs one more thing; the hero gets it where it is sold or made."""
    hero = begin(tell)
    world, dice = tell.world, tell.dice
    family(tell)
    source_of = {
        "eggs": "farm",
        "milk": "farm",
        "apples": "orchard",
        "sugar": "market",
        "flour": "shop",
        "butter": "market",
    }
    lacking = dice.pick(tuple(source_of))
    place: Place = next(place for place in PLACES if place.noun == source_of[lacking])
    tell.cast(lack=lacking, were="were" if lacking.endswith("s") else "was", p=place)
    other = friend(tell, place)
    tell.say("it was the birthday of {m}.", "one day, it was {m}'s birthday.")
    tell.say("{h} wanted to make a cake.", "{h} wanted to make a big cake for {m.him}.")
    tell.say("but there {were} no {lack} in the house.")
    tell.speak(hero, "What can I do?", "I need some {lack}!", "I can not make a cake without {lack}!")
    tell.walk(place, hero)
    tell.say("there {h.he} met {f}.", "{h.his} friend {f} was there.")
    tell.speak(hero, "Do you have some {lack}?", "Can I have some {lack}, please?")
    tell.speak(other, "Yes, here you are!", "Yes, take this!", "Yes, and I can help you make the cake!")
    goods = Thing(lacking, "fresh")
    tell.cast(g=goods)
    world.add_thing(goods, held_by=other)
    world.give(other, goods, hero, to_keep=True)
    thank(tell, other)
    tell.paragraph()
    for walker in (hero, other):
        world.walk(walker, HOME)
    tell.say("they ran home and made the cake.", "{h} and {f} went home and made a cake.")
    tell.say(
        "it smelled so good.", "the cake was big and sweet.", "there was sugar on the floor, but the cake was good."
    )
    tell.speak(hero, "Happy birthday, {M}!", "Surprise! Happy birthday!")
    tell.say("{m} was so happy.", "{m} had a big smile.", "{m} hugged {h} and {f}.")
    tell.say("they all ate the cake together.", "they sang a song and ate the cake.")
    end_together(tell, "it is nice to make others happy", "a cake made with love is the best")


def practice(tell: Teller) -> None:
    """The hero fails twice and succeeds the third time."""
    hero = begin(tell)
    world, dice = tell.world, tell.dice
    skill, place_noun, fail = dice.pick(
        (
            ("swim", "lake", "water got into {h.his} nose"),
            ("swim", "pond", "{h.he} went under the water"),
            ("climb the tree", "park", "{h.he} fell down"),
            ("climb the tree", "orchard", "{h.he} slid down"),
            ("jump over the log", "forest", "{h.he} fell on {h.his} nose"),
            ("jump over the fence", "farm", "{h.he} fell into the mud"),
            ("ride a bike", "yard", "the bike fell over"),
            ("ride a bike", "park", "the bike fell over"),
            ("stand on one leg", "playground", "{h.he} fell over"),
            ("skip a stone", "river", "the stone sank"),
            ("roll down like a ball", "hill", "{h.he} stopped half way"),
            ("whistle", "garden", "no sound came out"),
        )
    )
    place = next(place for place in PLACES if place.noun == place_noun)
    tell.cast(skill=skill, p=place, fail=fail.format_map(tell.words))
    tell.say("{h} wanted to {skill}.", "{h} could not {skill}, but {h.he} wanted to learn it.")
    one_day(tell, "{h.he} went {p.to} to learn it.", "{h} went {p.to}.")
    world.walk(hero, place)
    tell.say("{h} tried, but {fail}.", "the first time, {fail}.")
    tell.say("{h} tried again, but {fail} again.", "the second time, {fail} again.")
    world.feel(hero, "sad")
    tell.speak(hero, "I can not do it!", "It is too hard!", "I will never learn it!")
    tell.paragraph()
    if dice.chance(0.5):
        other = friend(tell, place)
        tell.say("{h.his} friend {f} saw it.", "a {f.kind} named {f} came by.")
        ender = end_together
    else:
        other = elder(tell, place)
        tell.say("{e.a} saw it and came over.", "{e.a} looked at {h} and smiled.")
        ender = end_alone
    tell.speak(
        other,
        "Try again. You can do it!",
        "Do not give up!",
        "I could not do it at first, too.",
        "Go slow. I will show you.",
    )
    tell.say("{h} took a deep breath.", "{h} tried one more time.", "{h} did not give up.")
    world.calm(hero, "sad")
    tell.say("and this time it worked!", "and then {h.he} did it!", "and now {h} could {skill}!")
    tell.speak(hero, "I did it!", "Look at me! I can do it!", "I can {skill}!")
    thank(tell, other)
    feel_happy(tell)
    ender(tell, "it is good to try again", "{h.he} must not give up")


PLOTS = (dark, rain, snow, seed, birthday, practice)
