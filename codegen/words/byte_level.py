"""The box of byte-level BPE: the rules that divide text into words, and the tables by which bytes are merged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..model.byte_level import ByteLevel
from ..model.unicode.characters import CharSet
from ..model.word_pattern import Element, Rule, Run, RunButLast
from ..pack.byte_level_tables import ByteLevelTables
from .decisions import Decisions
from .lists import number_rows
from .tokenizer import INTEGERS


@dataclass(frozen=True)
class WordPart:
    """One part of a rule: the function that takes it, from where, and the arguments that limit it."""

    form: str
    start: str
    limits: str


@dataclass(frozen=True)
class WordRule:
    """One rule for a word: its expression, and its parts in order."""

    source: str
    parts: Sequence[WordPart]


@dataclass(frozen=True)
class WordStage:
    """The rules of one expression that divides text; the first one has the number 1."""

    number: int
    before: int
    rules: Sequence[WordRule]


@dataclass(frozen=True)
class Bytes:
    """Fields of the tokenizer's template."""

    left_type: str
    left_rows: Sequence[str]
    missing_bytes: bool
    """Some byte has no token."""
    whole_words: bool
    """A word that is a piece is not merged from parts."""
    ascii_rows: Sequence[str]
    ranges: int
    range_rows: Sequence[str]
    stages: Sequence[WordStage]
    divides_again: bool
    """Text is divided by several expressions, one after the other."""
    last_stage: int
    leaves_last: bool
    """Some rule is a run without its last character."""
    ends_early: bool
    """Some rule is a run up to the last character of another set."""


def byte_level(decided: Decisions) -> Bytes | None:
    """Fill the box; None for a model without such a tokenizer."""
    vocabulary, tables = decided.model.vocabulary, decided.tables
    if not isinstance(vocabulary, ByteLevel) or not isinstance(tables, ByteLevelTables):
        return None
    found = tables.classes
    members = {chars: f"0x{bits:X}" for chars, bits in zip(found.sets, found.members, strict=True)}
    stages = vocabulary.pattern.stages
    elements = [element for rules in stages for rule in rules for element in rule.elements]
    return Bytes(
        left_type=INTEGERS[tables.left_bytes],
        left_rows=number_rows(tables.lefts),
        missing_bytes=tables.missing_bytes,
        whole_words=vocabulary.whole_words,
        ascii_rows=number_rows(found.ascii),
        ranges=len(found.starts),
        range_rows=number_rows([start << 5 | number for start, number in found.starts], 12),
        divides_again=len(stages) > 1,
        stages=[
            WordStage(number, number - 1, [_rule(rule, members) for rule in rules])
            for number, rules in enumerate(stages, start=1)
        ],
        last_stage=len(stages),
        leaves_last=any(isinstance(element, RunButLast) for element in elements),
        ends_early=not all(isinstance(element, Run | RunButLast) for element in elements),
    )


def _rule(rule: Rule, members: Mapping[CharSet, str]) -> WordRule:
    starts = ["first", *["at"] * len(rule.elements)]
    parts = [_part(element, start, members) for element, start in zip(rule.elements, starts, strict=False)]
    return WordRule(rule.source.replace("*/", "* /"), parts)


def _part(element: Element, start: str, members: Mapping[CharSet, str]) -> WordPart:
    chars = members[element.chars]
    if isinstance(element, RunButLast):
        return WordPart("span_but_last", start, chars)
    if isinstance(element, Run):
        most = "SIZE_MAX" if element.most is None else str(element.most)
        return WordPart("span", start, f"{chars}, {element.least}, {most}")
    return WordPart("span_up_to", start, f"{chars}, {members[element.last]}")
