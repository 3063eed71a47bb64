"""A tuning: sizes of blocks and tiles for models of one shape on one target, in place of the default sizes.

It is a small TOML file, which `llgen tune` writes and people review. No bit of a result depends on it: it says how much
work is done at once, never in which order a sum is added.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from llgen.errors import LlgenError
from llgen.lfs import refuse_pointer_file
from llgen.shown import shown, shown_error
from llgen.targets.instruction_sets import InstructionSet, Tile, select
from llgen.targets.schema import Target

from ..model.config import ModelConfig
from ..quantise.quantize import QuantModel
from .blocking import MOST_POSITIONS, has_threads, positions_of_block

_MOST_TILE_POSITIONS = 16
Height = Literal[1, 2, 4, 8, 16]
"""Accumulators of a block of rows: powers of two, so that padding to rows is also padding to the 8 lanes of sums."""
TileSize = tuple[Annotated[int, Field(ge=1, le=_MOST_TILE_POSITIONS)], Literal[1, 2, 4, 8]]
"""Positions, and vectors or accumulators of rows."""


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Shape(_Table):
    """The part of a model's configuration that decides where its time goes."""

    dim: int
    hidden_dim: int
    n_layers: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    vocab_size: int

    @classmethod
    def of(cls, config: ModelConfig) -> Shape:
        """The shape of a model."""
        return cls(**{name: getattr(config, name) for name in cls.model_fields})


class Purpose(_Table):
    """What a tuning was made for; it is refused for anything else."""

    target: str
    scheme: str
    kv: str
    shape: Shape


class Values(_Table):
    """The sizes; None: the default. `instruction_sets.py` and `blocking.py` say what each size means."""

    prefill: Annotated[int, Field(ge=1, le=MOST_POSITIONS)] | None = None
    least_parallel: Annotated[int, Field(ge=0, le=1 << 30)] | None = None
    accumulators: Height | None = None
    int_accumulators: Height | None = None
    float_tiles: tuple[TileSize, ...] | None = None
    long_tiles: tuple[TileSize, ...] | None = None
    int_tiles: tuple[TileSize, ...] | None = None
    four_tiles: tuple[TileSize, ...] | None = None

    def given(self) -> dict[str, Any]:
        """The sizes that are not None, as a manifest and TOML hold them."""
        return self.model_dump(mode="json", exclude_none=True)


class Measured(_Table):
    """The gain of the sizes when they were chosen; for people, no build reads it."""

    llgen: str
    by: Literal["time", "instructions"]
    machine: str
    decode: float
    """Speed divided by the speed with the default sizes: above 1 is faster."""
    prefill: float | None = None
    flash_bytes: tuple[int, int]
    """With the default sizes, and with these."""
    ram_bytes: tuple[int, int]


class Tuning(_Table):
    """A tuning file."""

    purpose: Purpose = Field(alias="for")
    values: Values
    measured: Measured | None = None


# ----------------------------------------------------------------------------------------------------------- reading


def read_values(path: Path, model: QuantModel, target: Target) -> Values:
    """The values of a tuning file for this model and target.

    Raises LlgenError when the file breaks the schema, was made for something else, or has a value that the target's
    kernels do not support or do not use; the message names the key.
    """
    tuning = load_tuning(path)
    require_purpose(tuning.purpose, purpose_of(model, target), str(path))
    try:
        tuned(select(target.isa), tuning.values)
        _require_use(tuning.values, model, target)
    except LlgenError as error:
        raise LlgenError(f"'{path}': {error.message}", error.hint) from error
    return tuning.values


def load_tuning(path: Path) -> Tuning:
    """A tuning, whatever it was made for. Raises LlgenError when the file breaks the schema."""
    refuse_pointer_file(path)
    try:
        return Tuning.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise LlgenError(f"cannot read the tuning '{path}': {error.strerror}", "`llgen tune` makes one") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise LlgenError(
            f"'{path}' is not valid TOML: {shown_error(error)}", "`llgen tune` writes such a file"
        ) from error
    except ValidationError as error:
        raise LlgenError(f"'{path}': {_complaint(error)}", "doc/speed.md lists the keys of a tuning") from error


def purpose_of(model: QuantModel, target: Target) -> Purpose:
    """What a tuning for a model on a target is for."""
    return Purpose(target=target.name, scheme=model.scheme, kv=model.kv, shape=Shape.of(model.config))


def require_purpose(made: Purpose, wanted: Purpose, source: str) -> None:
    """Raise LlgenError when a tuning was made for something else; `source` is for the message."""
    again = f"`llgen tune MODEL --target {wanted.target} --scheme {wanted.scheme}` makes one"
    for name in ("target", "scheme", "kv"):
        if getattr(made, name) != getattr(wanted, name):
            raise LlgenError(
                f"'{source}' is a tuning for {name} '{shown(getattr(made, name))}', not '{getattr(wanted, name)}'",
                again,
            )
    for name in Shape.model_fields:
        found, needed = getattr(made.shape, name), getattr(wanted.shape, name)
        if found != needed:
            raise LlgenError(f"'{source}' is a tuning for a model of {name} {found}, not {needed}", again)


def _complaint(error: ValidationError) -> str:
    first = error.errors()[0]
    # A place within a list names the list; pydantic's names for the types of a value are left out.
    known = {"for", *Tuning.model_fields, *Purpose.model_fields, *Shape.model_fields, *Values.model_fields}
    known |= set(Measured.model_fields)
    places = [str(place) for place in first["loc"]]
    if first["type"] == "extra_forbidden":
        return f"{shown('.'.join(places))} is not a key of a tuning"
    key = ".".join(place for place in places if place in known) or "the whole"
    return f"{key} is wrong: {shown(first['msg'].removeprefix('Value error, '), 200)}"


# ---------------------------------------------------------------------------------------------------------- applying


def tuned(kernels: InstructionSet, values: Values) -> InstructionSet:
    """The instruction set with a tuning's sizes; tiles that are not given shrink with their blocks.

    Raises LlgenError, naming the key, for sizes that the kernels cannot have.
    """
    given: dict[str, Any] = {name: getattr(values, name) for name in ("accumulators", "int_accumulators")}
    given = {name: value for name, value in given.items() if value is not None}
    if values.least_parallel is not None:
        given["least_parallel"] = values.least_parallel
    result = replace(kernels, **given)
    _require_rows(kernels, result)
    tiles: dict[str, Any] = {}
    for name, usual in tile_lists(kernels).items():
        asked = getattr(values, name)
        if asked is None:
            tiles[name] = tuple(Tile(t.positions, min(t.vectors, _room(name, result))) for t in usual)
        else:
            tiles[name] = tuple(Tile(*size) for size in asked)
            _require_tiles(name, tiles[name], usual, _room(name, result))
    return replace(result, **tiles)


def tile_lists(kernels: InstructionSet) -> dict[str, tuple[Tile, ...]]:
    """The tiles of an instruction set, by the names of `Values`."""
    return {name: getattr(kernels, name) for name in ("float_tiles", "long_tiles", "int_tiles", "four_tiles")}


def _room(name: str, kernels: InstructionSet) -> int:
    """Maximum number of vectors of a tile; integer tiles must divide a block of rows, float32 tiles need not."""
    return kernels.int_accumulators if name in ("int_tiles", "four_tiles") else 8


def _require_rows(usual: InstructionSet, kernels: InstructionSet) -> None:
    if usual.long_tiles and kernels.accumulators % 2 != 0:
        raise LlgenError("accumulators must be even: this target's matrices are read in vectors of twice the lanes")
    if kernels.block_rows(True) % kernels.lanes != 0:
        least = kernels.lanes // kernels.int_lanes
        raise LlgenError(f"int_accumulators is {kernels.int_accumulators}; this target needs at least {least}")
    if usual.fixed_blocks and kernels.int_accumulators != usual.int_accumulators:
        raise LlgenError(f"int_accumulators can only be {usual.int_accumulators} with this target's kernels")


def _require_tiles(name: str, tiles: Sequence[Tile], usual: Sequence[Tile], room: int) -> None:
    if not usual:
        raise LlgenError(f"{name} has no use: this target's kernels have no such tiles")
    positions = [tile.positions for tile in tiles]
    if not positions or positions[-1] != 1 or sorted(set(positions), reverse=True) != positions:
        raise LlgenError(f"{name} must go down to 1 position, the most first, not {positions}")
    for tile in tiles:
        if tile.vectors > room or room % tile.vectors != 0:
            raise LlgenError(f"{name} has a tile of {tile.vectors} vectors; a block of rows has {room}")


def _require_use(values: Values, model: QuantModel, target: Target) -> None:
    """Raise LlgenError for a value that has no effect."""
    positions = positions_of_block(model, select(target.isa), target, values.prefill)
    useful = useful_names(model, target, positions)
    for name in values.given():
        if name not in useful:
            raise LlgenError(
                f"{name} has no use for scheme '{model.scheme}' with '{model.kv}' keys and values on '{target.name}'",
                f"it has {', '.join(useful)}",
            )


def useful_names(model: QuantModel, target: Target, positions: int) -> list[str]:
    """Names of the values that change the generated code, for blocks of `positions` positions."""
    kernels = select(target.isa)
    blocks, floats = positions > 1, not model.is_integer
    tiled = model.is_integer and not kernels.fixed_blocks
    useful = {
        "prefill": True,
        "least_parallel": has_threads(target, positions),
        "accumulators": floats or (blocks and model.kv == "f32"),
        "int_accumulators": tiled,
        "float_tiles": blocks and (floats or model.kv == "f32"),
        "long_tiles": blocks and floats and bool(kernels.long_tiles),
        "int_tiles": blocks and tiled,
        "four_tiles": blocks and tiled and 4 in model.bits_used,
    }
    return [name for name, uses in useful.items() if uses]
