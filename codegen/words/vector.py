"""The box of vectors: lanes and tiles of the kernels that compute with floats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..contract.numerics import LANES
from .decisions import Decisions
from .lists import Index, indices
from .tiles import ShapeWords, TileWords, long_tile_words, shape_words, tile_words, whole_block


@dataclass(frozen=True)
class Vector:
    """How floats are taken together."""

    accumulators: Sequence[Index]
    one_lane: bool
    """Vectors of floats are single floats."""
    eight_lanes: bool
    w: str
    """What the names of operations on the longest vectors of floats begin with."""
    w_lanes: str
    long_vectors: bool
    """The longest vectors have more than the eight lanes of a reduction."""
    cuts_vectors: bool
    """Instructions take the first lanes of a vector, and store its integers as bytes."""
    attend_rows: Sequence[int]
    """Queries whose attention is computed together."""
    float_tiles: Sequence[ShapeWords]
    has_long_tiles: bool
    long_tiles: Sequence[ShapeWords]
    """Tiles of matrices, in long vectors."""
    block_pairs: bool
    """One position is multiplied by two blocks at once."""
    pair: TileWords
    """The tile of one of these two blocks."""


def vectors(decided: Decisions) -> Vector:
    """Fill the box."""
    model, kernels, block = decided.model, decided.kernels, decided.memory.block
    long_vectors = decided.blocks and kernels.long_lanes > 0
    return Vector(
        accumulators=indices(kernels.accumulators),
        one_lane=kernels.lanes == 1,
        eight_lanes=kernels.lanes == LANES,
        w="l" if long_vectors else "v",
        w_lanes="L_LANES" if long_vectors else "V_LANES",
        long_vectors=long_vectors,
        cuts_vectors=decided.blocks and kernels.cuts_vectors,
        attend_rows=range(0 if block is None else block.attend_rows),
        float_tiles=[shape_words(tile_words(tile)) for tile in kernels.float_tiles],
        has_long_tiles=bool(kernels.long_tiles) and not model.is_integer,
        long_tiles=[shape_words(long_tile_words(tile)) for tile in kernels.long_tiles],
        block_pairs=kernels.block_pairs,
        pair=whole_block(kernels),
    )
