"""Tiles in words: the sums that a kernel keeps in registers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from llgen.targets.instruction_sets import InstructionSet, Tile

from .lists import Index, indices


@dataclass(frozen=True)
class TileWords:
    """Sums that a kernel keeps in registers, positions times vectors of rows."""

    width: int
    positions: Sequence[Index]
    height: int
    vectors: Sequence[Index]
    wide: bool = False
    """It takes vectors of 16-bit integers."""
    split: bool = False
    """Each row has two sums."""
    name: str = "tile"
    v: str = "v"
    """What the operations on its vectors begin with."""
    lanes: str = "V_LANES"


@dataclass(frozen=True)
class ShapeWords:
    """Tiles of `width` positions: the best height first, then heights for the remaining rows."""

    width: int
    parts: Sequence[TileWords]


def tile_words(tile: Tile) -> TileWords:
    return TileWords(tile.positions, indices(tile.positions), tile.vectors, indices(tile.vectors))


def long_tile_words(tile: Tile) -> TileWords:
    return replace(tile_words(tile), name="long_tile", v="l", lanes="L_LANES")


def whole_block(kernels: InstructionSet) -> TileWords:
    """One position times all rows of a block of a float32 matrix."""
    rows = kernels.block_rows(False)
    if kernels.long_tiles:
        return long_tile_words(Tile(1, rows // kernels.long_lanes))
    return tile_words(Tile(1, rows // kernels.lanes))


def shape_words(tile: TileWords) -> ShapeWords:
    heights = [height for height in (8, 4, 2, 1) if height <= tile.height]
    return ShapeWords(tile.width, [replace(tile, height=height, vectors=indices(height)) for height in heights])
