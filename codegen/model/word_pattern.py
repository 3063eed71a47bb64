r"""How a text is divided into words before a byte-level tokenizer merges their bytes.

Tokenizers state it as regular expressions. Those that occur consist of a few forms, which need no backtracking: runs of
a set of characters, such as ` ?\p{L}+`; spaces without the last one, `\s+(?!\S)`; spaces up to the last line break,
`\s*[\r\n]+`. This module reads an expression into these forms, and refuses any other.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product

from llgen.errors import LlgenError
from llgen.shown import shown

from .unicode.characters import ANY, CharSet, by_property

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
"""The words of GPT-2 (Radford et al., 2019), which many tokenizers have taken over."""
DIGITS = r"\p{N}|\P{N}+"
"""Each digit apart."""


@dataclass(frozen=True)
class Run:
    """Characters of a set, as many as follow one another."""

    chars: CharSet
    least: int = 1
    most: int | None = None

    @property
    def expression(self) -> str:
        limits = f"{{{self.least},{'' if self.most is None else self.most}}}"
        return f"{self.chars.expression}{limits}"


@dataclass(frozen=True)
class RunButLast:
    """A run of a set; where another character follows it, without its last one."""

    chars: CharSet

    @property
    def expression(self) -> str:
        return f"{self.chars.expression}+(?!{(~self.chars).expression})"


@dataclass(frozen=True)
class RunUpTo:
    """A run of a set up to the last one of its characters that are in another set, too."""

    chars: CharSet
    last: CharSet

    @property
    def expression(self) -> str:
        return f"{self.chars.expression}*{(self.chars & self.last).expression}"


Element = Run | RunButLast | RunUpTo


@dataclass(frozen=True)
class Rule:
    """One alternative of an expression: its elements in order."""

    source: str
    elements: tuple[Element, ...]

    @property
    def first(self) -> CharSet:
        """The characters with which a match can begin."""
        found = CharSet(())
        for element in self.elements:
            found |= element.chars
            if not isinstance(element, Run) or element.least:
                break
        return found

    @property
    def matches_one(self) -> CharSet:
        """The characters that the rule matches, whatever follows them."""
        required = [element for element in self.elements if not isinstance(element, Run) or element.least]
        if len(required) == 1 and isinstance(required[0], Run) and required[0].least == 1:
            return required[0].chars
        return CharSet(())


@dataclass(frozen=True)
class WordPattern:
    """Expressions that divide a text one after the other, each the words of the one before."""

    sources: tuple[str, ...]
    stages: tuple[tuple[Rule, ...], ...] = field(repr=False)
    """The rules of each expression. Of the rules that match at a place, the first decides."""

    @classmethod
    def of(cls, sources: Iterable[str]) -> WordPattern:
        """Read expressions. Raises LlgenError as `rules_of` does."""
        sources = tuple(sources)
        return cls(sources, tuple(map(rules_of, sources)))

    @cached_property
    def _compiled(self) -> tuple[re.Pattern[str], ...]:
        def expression(rule: Rule) -> str:
            return "".join(element.expression for element in rule.elements)

        return tuple(re.compile("|".join(map(expression, rules))) for rules in self.stages)

    def words(self, text: str) -> list[str]:
        """The words of a text, which follow one another without gaps."""
        words = [text] if text else []
        for stage in self._compiled:
            words = [found for word in words for found in stage.findall(word)]
        return words


def rules_of(source: str) -> tuple[Rule, ...]:
    """Read an expression.

    Raises LlgenError with the expression when it has a form that llgen does not know, or leaves gaps between words.
    """
    try:
        rules = tuple(Rule(text, tuple(_joined(parts))) for text, parts in _alternatives(_Reader(source)))
    except _Unknown as unknown:
        raise LlgenError(
            f"the tokenizer divides text by '{shown(source)}', and llgen does not know '{shown(str(unknown))}' in it",
            "--no-tokenizer imports the model without it, to take token ids",
        ) from None
    covered = CharSet(())
    for rule in rules:
        covered |= rule.matches_one
    if covered != ANY:
        raise LlgenError(
            f"the tokenizer divides text by '{shown(source)}', which leaves gaps",
            "--no-tokenizer imports the model without it, to take token ids",
        )
    return rules


class _Unknown(Exception):
    """A part of an expression that has no form here."""


# ------------------------------------------------------------------------------------------------- from parts to forms


@dataclass(frozen=True)
class _Look:
    """`(?!…)`: no character of the set follows."""

    chars: CharSet
    source: str


_Part = Run | _Look


def _joined(parts: Sequence[_Part]) -> Iterator[Element]:
    """Join the parts of an alternative to elements that never have to give back a character."""
    waiting = list(parts)
    while waiting:
        part, rest = waiting[0], waiting[1:]
        following = rest[0] if rest else None
        if isinstance(part, _Look):
            raise _Unknown(part.source)
        if isinstance(following, _Look):
            if (part.least, part.most) != (1, None) or following.chars != ~part.chars or len(rest) > 1:
                raise _Unknown(following.source)
            yield RunButLast(part.chars)
            waiting = rest[1:]
        elif following is not None and part.most != part.least and not part.chars.isdisjoint(following.chars):
            inside = not following.chars & ~part.chars
            if not inside or (part.least, part.most) != (0, None) or (following.least, following.most) != (1, None):
                raise _Unknown("runs of sets that overlap")
            if len(rest) > 1:
                raise _Unknown("something after a run that ends in another")
            yield RunUpTo(part.chars, following.chars)
            waiting = rest[1:]
        else:
            yield part
            waiting = rest


# ---------------------------------------------------------------------------------------------- from text to the parts


class _Reader:
    """A text that is read from its beginning."""

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0

    @property
    def rest(self) -> str:
        return self.text[self.at :]

    def takes(self, token: str) -> bool:
        """Pass over a token if it comes next."""
        if not self.rest.startswith(token):
            return False
        self.at += len(token)
        return True

    def char(self) -> str:
        """The next character."""
        if not self.rest:
            raise _Unknown("its end")
        self.at += 1
        return self.text[self.at - 1]

    def match(self, expression: str) -> re.Match[str] | None:
        """Pass over what an expression matches."""
        found = re.compile(expression).match(self.text, self.at)
        self.at = found.end() if found else self.at
        return found


def _alternatives(reader: _Reader, *, folded: bool = False) -> list[tuple[str, tuple[_Part, ...]]]:
    """The alternatives up to the end of a group or text; a group inside one is multiplied out."""
    found = []
    while True:
        start = reader.at
        choices: list[tuple[_Part, ...]] = [()]
        while reader.rest and reader.rest[0] not in "|)":
            choices = [before + after for before, after in product(choices, _parts(reader, folded))]
        found += [(reader.text[start : reader.at], parts) for parts in choices]
        if not reader.takes("|"):
            break
    if reader.rest and not folded and not reader.rest.startswith(")"):
        raise _Unknown(reader.rest)
    return found


def _parts(reader: _Reader, folded: bool) -> list[tuple[_Part, ...]]:
    """What the next item of an alternative may be: one part, or the alternatives of a group."""
    start = reader.at
    group = reader.match(r"\(\?(i?):")
    if group:
        inside = _alternatives(reader, folded=folded or bool(group[1]))
        if not reader.takes(")") or reader.rest[:1] in tuple("?*+{"):
            raise _Unknown(reader.text[start : reader.at + 1])
        return [parts for _, parts in inside]
    if reader.takes("(?!"):
        chars = _set(reader, folded=False)
        if not reader.takes(")"):
            raise _Unknown(reader.text[start:])
        return [(_Look(chars, reader.text[start : reader.at]),)]
    if reader.rest[0] in "()^$.?*+{":
        raise _Unknown(reader.rest)
    chars = _set(reader, folded)
    least, most = _times(reader)
    return [(Run(chars, least, most),)]


def _times(reader: _Reader) -> tuple[int, int | None]:
    """How often an item stands; a possessive sign changes nothing, because no run gives back a character."""
    found = reader.match(r"([?*+]|\{(\d+)(,(\d*))?\})(\+?)(\??)")
    if not found:
        return 1, 1
    if found[6]:
        raise _Unknown(found[0])
    signs: dict[str, tuple[int, int | None]] = {"?": (0, 1), "*": (0, None), "+": (1, None)}
    if found[1] in signs:
        return signs[found[1]]
    least = int(found[2])
    return least, least if found[3] is None else int(found[4]) if found[4] else None


_PLAIN = {"r": "\r", "n": "\n", "t": "\t", "f": "\f", "v": "\v"}
_SAME_WHEN_FOLDED = {"s": "ſ", "k": "\u212a"}
"""Characters outside of ASCII that equal a letter when case is ignored."""


def _set(reader: _Reader, folded: bool) -> CharSet:
    """A set in brackets, or a single character or property as a set."""
    if not reader.takes("["):
        return _item(reader, folded)
    inverted, found = reader.takes("^"), CharSet(())
    while not reader.takes("]"):
        start = reader.at
        item = _item(reader, folded)
        if reader.rest[:1] == "-" and reader.rest[1:2] != "]":
            reader.char()
            last = _item(reader, folded)
            ends = [each.ranges for each in (item, last)]
            if folded or any(len(ranges) != 1 or ranges[0][1] - ranges[0][0] != 1 for ranges in ends):
                raise _Unknown(reader.text[start : reader.at])
            item = CharSet.of([(ends[0][0][0], ends[1][0][1])])
        found |= item
    return ~found if inverted else found


def _item(reader: _Reader, folded: bool) -> CharSet:
    start, char = reader.at, reader.char()
    if char == "[":  # a set in a set
        raise _Unknown(reader.text[start:])
    if char != "\\":
        same = {char.lower(), char.upper(), *_SAME_WHEN_FOLDED.get(char.lower(), "")} if folded else {char}
        return CharSet.from_text("".join(same))
    char = reader.char()
    if char in "pP":
        name = reader.match(r"\{(\w+)\}|([LMNPSZC])")
        try:
            found = by_property((name[1] or name[2]) if name else "")
        except KeyError:
            raise _Unknown(reader.text[start : reader.at]) from None
        return ~found if char == "P" else found
    if char in "sS":
        spaces = by_property("White_Space")
        return ~spaces if char == "S" else spaces
    if char.isalnum() and char not in _PLAIN:
        raise _Unknown(f"\\{char}")
    return CharSet.from_text(_PLAIN.get(char, char))
