"""The vocabulary of stories: characters, things and places, and the English words for each.

The objects are frozen and hold only their words; `world.World` holds what happens to them. Wordings use the objects in
`str.format` fields: `{h}` is a character's name, `{h.his}` a pronoun, `{t.a}` "a red ball", `{p.at}` "in the park".
"""

from __future__ import annotations

from dataclasses import dataclass


def with_article(words: str) -> str:
    """The words after `a` or `an`, by the first letter; the vocabulary has no exceptions such as hour or unicorn."""
    return ("an " if words[0] in "aeiou" else "a ") + words


# ------------------------------------------------------------------------------------------------------- characters


@dataclass(frozen=True)
class Character:
    """Somebody with a name, a kind ("girl", "rabbit") and a gender."""

    name: str
    kind: str
    female: bool

    def __str__(self) -> str:
        return self.name

    @property
    def he(self) -> str:
        return "she" if self.female else "he"

    @property
    def him(self) -> str:
        return "her" if self.female else "him"

    @property
    def his(self) -> str:
        return "her" if self.female else "his"

    @property
    def He(self) -> str:
        return self.he.capitalize()

    @property
    def His(self) -> str:
        return self.his.capitalize()

    @property
    def himself(self) -> str:
        return self.him + "self"

    @property
    def a(self) -> str:
        """ "a rabbit": a character that appears for the first time."""
        return with_article(self.kind)


GIRLS = ("Lily", "Mia", "Anna", "Sara", "Zoe", "Ruby", "Nora", "Ella")
BOYS = ("Tom", "Ben", "Max", "Sam", "Leo", "Tim", "Jack", "Finn")
SHE_ANIMALS = ("Dot", "Coco", "Daisy", "Penny", "Tilly", "Molly", "Bella", "Poppy")
HE_ANIMALS = ("Pip", "Bobo", "Rusty", "Buddy", "Teddy", "Oscar", "Milo", "Fuzzy")
ALL_NAMES = len(GIRLS)
"""Number of names of each kind: girls, boys, female animals, male animals."""
NAMES = GIRLS + BOYS + SHE_ANIMALS + HE_ANIMALS
ANIMAL_KINDS = ("rabbit", "bear", "fox", "mouse", "cat", "dog", "pig", "duck", "frog", "squirrel", "hedgehog", "goat")
ELDER_KINDS = ("owl", "turtle", "crow", "goose", "donkey", "horse")
TRAITS = ("kind", "brave", "shy", "curious", "quick", "quiet", "funny", "careful", "silly", "happy", "clever", "gentle")


def relative(of: Character, role: str) -> Character:
    """A relative `of` somebody: mom, dad, grandma or grandpa, named "her mom" and the like."""
    return Character(f"{of.his} {role}", role, role in ("mom", "grandma"))


# ------------------------------------------------------------------------------------------------------------ things


@dataclass(frozen=True)
class Thing:
    """Something that can be held: its noun, and its adjective, which stays the same through a story."""

    noun: str
    adjective: str

    def __str__(self) -> str:
        return self.noun

    @property
    def full(self) -> str:
        return f"{self.adjective} {self.noun}"

    @property
    def a(self) -> str:
        return with_article(self.full)

    @property
    def the(self) -> str:
        return f"the {self.noun}"


@dataclass(frozen=True)
class Toy:
    """A kind of toy: words for playing with it, for breaking it and for mending it."""

    noun: str
    play: str
    played: str
    broke: str
    mend_with: str


TOYS = (
    Toy("ball", "bounce it", "bounced it up and down", "it got a hole", "a patch"),
    Toy("kite", "fly it", "made it fly in the wind", "its tail came off", "string"),
    Toy("doll", "sing to it", "sang a song to it", "its arm came off", "a needle"),
    Toy("boat", "make it float", "made it float on the water", "its sail came off", "glue"),
    Toy("car", "push it", "pushed it very fast", "a wheel came off", "glue"),
    Toy("train", "pull it", "pulled it along the path", "a wheel came off", "glue"),
    Toy("drum", "play it", "played a loud song on it", "it got a hole", "a patch"),
    Toy("bunny", "hug it", "hugged it tight", "its ear came off", "a needle"),
    Toy("wagon", "pull it", "pulled it around and around", "a wheel came off", "glue"),
    Toy("puppet", "make it dance", "made it dance and bow", "its leg came off", "string"),
    Toy("robot", "make it walk", "made it walk and beep", "its arm came off", "glue"),
    Toy("plane", "make it fly", "made it fly in a circle", "its wing came off", "tape"),
    Toy("crown", "wear it", "wore it like a king", "it split in two", "tape"),
    Toy("book", "look at it", "looked at all the pictures in it", "a page came off", "tape"),
    Toy("top", "spin it", "made it spin very fast", "it split in two", "glue"),
    Toy("flute", "play it", "played a soft song on it", "it split in two", "tape"),
)
TREASURES = (
    "key",
    "coin",
    "ring",
    "button",
    "bell",
    "shell",
    "stone",
    "feather",
    "ribbon",
    "whistle",
    "marble",
    "watch",
)
CLOTHES = ("hat", "scarf", "coat", "cap", "cape", "apron")
FOODS = ("apple", "pear", "plum", "cookie", "muffin", "carrot", "banana", "bun", "peach", "sandwich", "orange", "cake")
BIG_FOODS = ("pumpkin", "turnip", "melon", "cabbage")
COLORS = ("red", "blue", "green", "yellow", "pink", "purple", "white", "orange")
LOOKS = ("little", "old", "new", "shiny", "big", "pretty", "small", "round")

# ------------------------------------------------------------------------------------------------------------ places


@dataclass(frozen=True)
class Place:
    """A place; `spots` are where something small can lie or hide there."""

    noun: str
    preposition: str
    spots: tuple[str, ...]
    outdoors: bool = True

    def __str__(self) -> str:
        return self.noun

    @property
    def the(self) -> str:
        return f"the {self.noun}"

    @property
    def at(self) -> str:
        return "at home" if self is HOME else f"{self.preposition} the {self.noun}"

    @property
    def to(self) -> str:
        return "home" if self is HOME else f"to the {self.noun}"


HOME = Place("house", "in", ("under the bed", "behind the door", "under a chair"), outdoors=False)
PLACES = (
    HOME,
    Place("kitchen", "in", ("under the table", "behind a box", "under a rug"), outdoors=False),
    Place("attic", "in", ("in an old box", "behind a trunk", "under a rug"), outdoors=False),
    Place("garden", "in", ("under a bush", "behind the roses", "next to a pot")),
    Place("yard", "in", ("under the swing", "behind the fence", "under a bush")),
    Place("park", "in", ("under a bench", "behind a big tree", "next to the path")),
    Place("playground", "at", ("under the slide", "in the sand", "behind the swings")),
    Place("school", "at", ("under a desk", "behind the door", "on a shelf"), outdoors=False),
    Place("library", "in", ("under a desk", "on a shelf", "behind the books"), outdoors=False),
    Place("market", "at", ("under a cart", "behind a big basket", "next to a box")),
    Place("shop", "in", ("on a shelf", "under a box", "behind the door"), outdoors=False),
    Place("bridge", "on", ("next to the rail", "under a leaf", "between two stones")),
    Place("river", "by", ("between two rocks", "in the mud", "under a leaf")),
    Place("pond", "by", ("in the tall grass", "under a leaf", "next to a log")),
    Place("lake", "by", ("in the sand", "between two rocks", "next to a log")),
    Place("beach", "at", ("in the sand", "under a towel", "between two rocks")),
    Place("forest", "in", ("under a tree", "behind a log", "in the leaves")),
    Place("cave", "in", ("behind a rock", "in a dark corner", "under a stone"), outdoors=False),
    Place("hill", "on", ("in the tall grass", "behind a rock", "under a bush")),
    Place("meadow", "in", ("in the tall grass", "under a flower", "next to a rock")),
    Place("field", "in", ("in the tall grass", "under the hay", "next to the fence")),
    Place("farm", "on", ("under a cart", "behind the fence", "in the hay")),
    Place("barn", "in", ("in the hay", "behind a door", "under a bucket"), outdoors=False),
    Place("orchard", "in", ("under a tree", "in the leaves", "next to a ladder")),
)
OUTDOORS = tuple(place for place in PLACES if place.outdoors)
AT_HOME = PLACES[:3]

_BY_NOUN = {place.noun: place for place in PLACES}
_PATHS = (
    ("house", "kitchen attic garden yard"),
    ("yard", "park playground school"),
    ("garden", "meadow orchard pond"),
    ("park", "market library pond playground"),
    ("market", "shop bridge"),
    ("bridge", "river forest"),
    ("river", "lake meadow"),
    ("lake", "beach"),
    ("forest", "cave hill"),
    ("meadow", "hill field"),
    ("field", "farm"),
    ("farm", "barn orchard"),
)
WAYS: dict[Place, tuple[Place, ...]] = {
    place: tuple(
        [_BY_NOUN[noun] for start, ends in _PATHS for noun in ends.split() if start == place.noun]
        + [_BY_NOUN[start] for start, ends in _PATHS for noun in ends.split() if noun == place.noun]
    )
    for place in PLACES
}
"""The map, the same in every story: the neighbours of each place."""
