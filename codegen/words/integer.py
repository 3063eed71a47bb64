"""The box of integers: forms, matrices and tiles of the kernels that compute with integers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..contract.matrix import UNPACKED
from ..contract.numerics import CHUNK
from .decisions import Decisions
from .forms import FormWords, group_forms
from .lists import Index, alternatives, indices
from .matrices import MatrixWords, matrix_words
from .tiles import TileWords, tile_words


@dataclass(frozen=True)
class Integer:
    """How integer matrices are stored and multiplied."""

    int_accumulators: Sequence[Index]
    has_long_rows: bool
    """Some rows are longer than 256 columns."""
    has_starts: bool
    """8-bit weights are stored plus 128, so that a sum of products begins with -128 times the sum of the vector."""
    has_groups: bool
    """Some matrix has a multiplier for each group of columns."""
    group_forms: Sequence[FormWords]
    """Forms of the matrices that have groups."""
    group_bits: str
    """Their bits, for the reader."""
    narrow_forms: Sequence[FormWords]
    """Forms that are unpacked to bytes before they are multiplied."""
    narrow_bits: str
    tells_bits: bool
    """There are several forms with groups."""
    embedding_form: FormWords | None
    """The form of a tied embedding of fewer than 8 bits."""
    matrices: Sequence[MatrixWords]
    split_weights: bool
    """Weights of attention are multiplied byte by byte."""
    split_sums: bool
    """Tiles of one position have two sums for each row."""
    int_tiles: Sequence[TileWords]
    four_tiles: Sequence[TileWords]
    narrow_tiles: Sequence[TileWords]
    """Tiles of all rows of a block."""
    wide_tiles: bool
    """Some of the integer tiles take vectors of 16 bits."""
    single_chunk: bool
    """One sum of integers holds all positions, and there are no vectors."""


def integers(decided: Decisions) -> Integer:
    """Fill the box."""
    model, kernels = decided.model, decided.kernels
    forms = group_forms(model.bits_used, kernels)
    narrow = [form for form in forms if form.bits in UNPACKED]
    tells_bits = len(forms) > 1
    return Integer(
        int_accumulators=indices(kernels.int_accumulators),
        has_long_rows=model.graph.longest_row > 256,
        has_starts=kernels.biased,
        has_groups=model.has_groups,
        group_forms=forms,
        group_bits=alternatives([form.bits for form in forms]),
        narrow_forms=narrow,
        narrow_bits=alternatives([form.bits for form in narrow]),
        tells_bits=tells_bits,
        embedding_form=next((form for form in forms if form.bits == model.embedding.bits), None),
        matrices=matrix_words(decided.packed, model.graph, tells_bits=tells_bits),
        split_weights=decided.blocks and kernels.split_weights,
        split_sums=kernels.split_sums,
        int_tiles=[
            replace(
                tile_words(tile),
                wide=kernels.wide_tiles and tile.positions > 1,
                split=kernels.split_sums and tile.positions == 1,
            )
            for tile in kernels.int_tiles
        ],
        four_tiles=[tile_words(tile) for tile in kernels.four_tiles],
        narrow_tiles=[tile_words(tile) for tile in kernels.narrow_tiles()],
        wide_tiles=kernels.wide_tiles,
        single_chunk=kernels.lanes == 1 and model.context <= CHUNK,
    )
