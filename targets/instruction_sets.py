"""Instruction sets: what the kernels of each one can do, and how much they take at once.

A set is one folder, `targets/isa/NAME/`: facts in `isa.toml`, the vector vocabularies `float.h` and `int.h`, in
`layout.py` the order of weights in flash, and templates `*.c.j2` that take the place of those in templates/kernels/.
A set that extends others has their facts and files, except those that it replaces. Adding a set changes no other file.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from importlib import import_module
from importlib.resources import files
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, cast

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from llgen.errors import LlgenError, closest, did_you_mean
from llgen.shown import shown, shown_error

if TYPE_CHECKING:
    from .isa.scalar.layout import Layout

LANES = 8
"""Partial sums of a reduction, in the arithmetic that all targets share."""

GROUP = 32
"""Columns of a matrix that share a multiplier, in the arithmetic that all targets share."""

LEAST_PARALLEL = 1 << 16
"""Products of a weight and an element below which work is not divided among threads: they take about a microsecond,
and so does handing work to a thread."""

Count = Annotated[int, Field(ge=1)]


class Tile(NamedTuple):
    """Sums that stay in registers while a block of positions is multiplied."""

    positions: Count
    vectors: Count
    """Vectors of rows: of float32, or accumulators of integer sums."""


Tiles = tuple[Tile, ...]


@dataclass(frozen=True, kw_only=True)
class InstructionSet:
    """The instructions that the generated C uses, and how matrices are cut for them.

    No fact changes a bit of any result: vectors run across rows, never along an accumulation.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    name: str
    """The name of its folder, and of its entry in a target's `isa`."""
    line: tuple[str, ...]
    """The folders in which a file is looked up: its own, then those of the sets that it extends."""
    needs: tuple[str, ...] = ()
    """Macros that the compiler defines for a processor that has these instructions."""
    lanes: Count
    """float32 numbers in a vector; a divisor of 8."""
    accumulators: Count
    """Vectors that a float32 matrix-vector product keeps in registers."""
    long_lanes: int = 0
    """float32 numbers in the long vectors for blocks of positions; 0: the set has no long vectors."""
    cuts_vectors: bool = False
    """Instructions cut a vector to its first lanes, and store integers as bytes."""
    soft_float: bool = False
    """There is no float unit: functions of the generated C replace the most frequent float operations."""
    wide_products: bool = True
    """An instruction multiplies 32 by 32 bits to 64."""
    counts_zeros: bool = True
    """An instruction counts the leading zeros of an integer."""
    int_lanes: Count
    """Rows whose integer sums one accumulator holds."""
    int_accumulators: Count
    """Accumulators that an integer matrix-vector product keeps in registers."""
    int_columns: Count = 4
    """Neighbouring 8-bit weights of a row that are stored side by side."""
    int_step: Count = 8
    """Columns that the integer kernel takes at once; integer vectors are padded to whole steps."""
    four_step: Count = GROUP
    """Columns that the kernel for 4-bit weights takes at once; the rows of a 4-bit matrix are padded to whole steps."""
    int_bytes: Count = 1
    """Bytes of an element of an integer vector."""
    int_mix: Count = 4
    """Elements of a head that `i_mix` sums over the positions at once."""
    split_weights: bool = False
    """Attention weights are multiplied byte by byte, for eight positions at once."""
    split_sums: bool = False
    """One position alone has two sums for each row, so that a product need not wait for the one before."""
    biased: bool = False
    """8-bit weights are stored plus 128, for instructions that multiply unsigned by signed bytes."""
    fixed_blocks: bool = False
    """The set's own integer kernel is written for its number of accumulators and has no tiles: no tuning changes it."""
    float_tiles: Tiles = (Tile(4, 2), Tile(2, 4), Tile(1, 8))
    """Tiles of float32 products, the most positions first; a block of positions is divided among them."""
    long_tiles: Tiles = ()
    """Tiles of float32 matrices in long vectors, for sets that have long vectors."""
    block_pairs: bool = False
    """One position alone is multiplied by two blocks of rows of a float32 matrix side by side."""
    int_tiles: Tiles = (Tile(2, 2), Tile(1, 4))
    """Tiles of 8-bit matrices."""
    wide_tiles: bool = False
    """Tiles of several positions multiply vectors of 16 bits, which are kept beside those of `int_bytes`."""
    four_tiles: Tiles = (Tile(2, 2), Tile(1, 4))
    """Tiles of 4-bit matrices."""
    register_bytes: int = 0
    """Bytes of all vector registers together, where they may exceed those of the processor family; 0: they do not. The
    promised stack has room for them."""
    least_parallel: int = LEAST_PARALLEL
    """Products below which work is not divided among threads."""

    def score_lanes(self, *, blocks: bool) -> int:
        """Positions whose scores are taken together: whole groups of the 8 lanes, and whole vectors."""
        return max(LANES, self.long_lanes) if blocks else LANES

    def value_group(self, *, blocks: bool) -> int:
        """Positions whose 8-bit values are stored side by side."""
        return 8 if blocks and self.split_weights else 2

    def narrow_tiles(self) -> Tiles:
        """Tiles of matrices that are unpacked group by group: all rows of a block, so no group is unpacked twice."""
        one = Tile(1, self.int_accumulators)
        return (one._replace(positions=2), one) if self.int_tiles[0].positions > 1 else (one,)

    def block_rows(self, integer: bool) -> int:
        """Output rows whose weights are stored side by side."""
        return self.int_lanes * self.int_accumulators if integer else self.lanes * self.accumulators

    def origin(self, file: str) -> str:
        """The name of the set whose folder has the file that this set uses.

        Raises LlgenError when no folder of its line has one.
        """
        for name in self.line:
            if (_FOLDER / name / file).is_file():
                return name
        raise LlgenError(
            f"the instruction set '{self.name}' has no {file}: none of targets/isa/{', '.join(self.line)} has one",
            "`extends` in isa.toml names the sets whose files it shares",
        )

    @property
    def layout(self) -> Layout:
        """How integer matrices lie: the `Layout` of layout.py, of this set or the first of its line that has one."""
        module = import_module(f"{__package__}.isa.{self.origin('layout.py')}.layout")
        return cast("Layout", module.Layout(self))

    def text_of(self, file: str) -> str:
        """The text of a file of this set, or of the first set of its line that has one."""
        return (_FOLDER / self.origin(file) / file).read_text(encoding="utf-8")


_FOLDER = files(__package__) / "isa"
_KEYS = sorted({field.name for field in fields(InstructionSet)} - {"name", "line"} | {"extends"})


@cache
def set_names() -> tuple[str, ...]:
    """The instruction sets that llgen has, in alphabetical order."""
    return tuple(sorted(entry.name for entry in _FOLDER.iterdir() if (entry / "isa.toml").is_file()))


def require_known(preference: Sequence[str]) -> None:
    """Raise LlgenError when llgen does not have one of a target's instruction sets.

    A mistyped name would make slow code and say nothing.
    """
    known = set_names()
    for name in preference:
        if name not in known:
            raise LlgenError(
                f"isa names '{shown(name)}', for which there are no kernels{did_you_mean(name, known)}",
                f"llgen has: {', '.join(known)}",
                facts={"value": name, "did_you_mean": closest(name, known), "known": list(known)},
            )


def select(preference: Sequence[str]) -> InstructionSet:
    """The first of a target's instruction sets. Raises LlgenError as `require_known` and `load_set` do."""
    require_known(preference)
    return load_set(preference[0])


@cache
def load_set(name: str) -> InstructionSet:
    """The instruction set of a folder. Raises LlgenError when its isa.toml breaks the schema."""
    return parse_set((_FOLDER / name / "isa.toml").read_text(encoding="utf-8"), name)


def parse_set(text: str, name: str) -> InstructionSet:
    """Check the text of an isa.toml, and add what the sets that it extends say.

    Raises LlgenError with the file, the key, and what is wrong.
    """
    source, given = _source(name), _parsed(text, name)
    line = (name, *_line(_parents(given.get("extends", []), name, source)))
    facts: dict[str, Any] = {}
    for said in (*(_own(parent) for parent in reversed(line[1:])), given):
        facts |= said
    facts.pop("extends", None)
    try:
        return _checker().validate_python({**facts, "name": name, "line": line})
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise LlgenError(
            f"'{source}': {shown(key)} is wrong: {shown(first['msg'], 200)}",
            "targets/instruction_sets.py says what each key means",
        ) from error


def _source(name: str) -> str:
    return f"targets/isa/{name}/isa.toml"


def _parsed(text: str, name: str) -> dict[str, Any]:
    source = _source(name)
    try:
        given = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise LlgenError(
            f"'{source}' is not valid TOML: {shown_error(error)}", "targets/isa/neon/isa.toml shows one"
        ) from error
    for key in given:
        if key not in _KEYS:
            raise LlgenError(
                f"'{source}': {shown(key)} is not a key of an instruction set{did_you_mean(key, _KEYS)}",
                f"the keys are: {', '.join(_KEYS)}",
            )
    return given


@cache
def _own(name: str) -> Mapping[str, Any]:
    """What the file of a set itself says, without the sets that it extends."""
    return _parsed((_FOLDER / name / "isa.toml").read_text(encoding="utf-8"), name)


@cache
def _checker() -> TypeAdapter[InstructionSet]:
    return TypeAdapter(InstructionSet)


def _parents(extends: object, name: str, source: str) -> list[str]:
    known = [each for each in set_names() if each != name]
    if not isinstance(extends, list):
        raise LlgenError(f"'{source}': extends is {shown(str(extends))}, not a list", 'such as extends = ["scalar"]')
    for parent in extends:
        if parent not in known:
            raise LlgenError(
                f"'{source}': extends names '{shown(str(parent))}', which is no other instruction set"
                + did_you_mean(str(parent), known),
                f"llgen has: {', '.join(known)}",
            )
        if name in _all_above(parent):
            raise LlgenError(
                f"'{source}': extends names '{parent}', which itself extends '{name}'",
                "take one of the two names away: a set extends simpler ones",
            )
    return extends


def _all_above(name: str) -> set[str]:
    """The names of all sets that a set extends, directly or by way of others, as their files say."""
    found: set[str] = set()
    open_names = [name]
    while open_names:
        above = _own(open_names.pop()).get("extends", [])
        open_names += [each for each in above if each not in found and each in set_names()]
        found.update(above)
    return found


def _line(parents: Sequence[str]) -> list[str]:
    """The sets and all that they extend; a set that several extend stands after the last that does."""
    found = [each for parent in parents for each in load_set(parent).line]
    return [each for index, each in enumerate(found) if each not in found[index + 1 :]]
