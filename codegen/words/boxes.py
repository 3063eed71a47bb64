"""All boxes of words for one build; a template sees those that it names at its top."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from .api import Api, api
from .arena import Arena, arena
from .build import Build, build
from .byte_level import Bytes, byte_level
from .decisions import Decisions
from .features import Features, features
from .integer import Integer, integers
from .machine import Machine, machine
from .names import Names, names
from .network import Network, network
from .numerics import Numerics, numeric_constants
from .program import Program, program
from .sentence_piece import Pieces, sentence_piece
from .soft import Soft, soft_floats
from .tokenizer import Tokenizer, tokenizer
from .tokens import Tokens, tokens
from .vector import Vector, vectors


@dataclass(frozen=True)
class Words:
    """Every decision of the earlier stages in words of C, numbers and named conditions; one box a subject."""

    names: Names
    features: Features
    api: Api
    tokens: Tokens
    program: Program
    build: Build
    arena: Arena
    network: Network
    numerics: Numerics
    vector: Vector
    integer: Integer
    soft: Soft
    tokenizer: Tokenizer | None
    """None: the model has no tokenizer."""
    pieces: Pieces | None
    """None: the model has no tokenizer of SentencePiece."""
    bytes: Bytes | None
    """None: the model has no byte-level tokenizer."""
    machine: Machine | None
    """None: there is an operating system, or a page."""

    def seen(self, boxes: Iterable[str]) -> Mapping[str, Any]:
        """The fields of the boxes of these names, such as "Names"; a box that this build lacks adds none."""
        wanted = {name.lower() for name in boxes}
        found = [getattr(self, field.name) for field in fields(self) if field.name in wanted]
        return {field.name: getattr(box, field.name) for box in found if box is not None for field in fields(box)}


def spell_out(decided: Decisions) -> Words:
    """Fill every box."""
    return Words(
        names=names(decided),
        features=features(decided),
        api=api(decided),
        tokens=tokens(decided),
        program=program(decided),
        build=build(decided),
        arena=arena(decided),
        network=network(decided),
        numerics=numeric_constants(decided),
        vector=vectors(decided),
        integer=integers(decided),
        soft=soft_floats(decided),
        tokenizer=None if decided.tables is None else tokenizer(decided, decided.tables),
        pieces=sentence_piece(decided),
        bytes=byte_level(decided),
        machine=None if decided.target.firmware is None else machine(decided.target.firmware),
    )
