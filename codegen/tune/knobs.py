"""Which sizes are tried: first the default sizes, then the neighbours of the best sizes so far."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from llgen.errors import LlgenError
from llgen.targets.instruction_sets import Tile, select
from llgen.targets.schema import Target

from ..plan.blocking import MOST_POSITIONS, positions_of_block
from ..plan.tuning import Values, tile_lists, tuned, useful_names
from ..quantise.quantize import QuantModel

_FEWEST_POSITIONS = 8
_MOST_ROWS = 16
_HEIGHTS = (1, 2, 4, 8)
_MOST_TILE = 16
Size = tuple[int, int]


def usual_values(model: QuantModel, target: Target, *, threads: bool) -> Values:
    """The default sizes of a build, except those without an effect. `threads`: include the size that needs threads.

    A target that evaluates a prompt one position at a time keeps doing so: larger blocks of positions take more RAM,
    which the user did not ask for.
    """
    kernels = select(target.isa)
    positions = positions_of_block(model, kernels, target)
    usual: dict[str, Any] = {"prefill": positions, "least_parallel": kernels.least_parallel}
    usual |= {"accumulators": kernels.accumulators, "int_accumulators": kernels.int_accumulators}
    usual |= {name: sizes(tiles) for name, tiles in tile_lists(kernels).items()}
    left_out = {*([] if threads else ["least_parallel"]), *([] if positions > 1 else ["prefill"])}
    return Values(**{name: usual[name] for name in useful_names(model, target, positions) if name not in left_out})


def sizes(tiles: Sequence[Tile]) -> tuple[Size, ...]:
    """Tiles as a tuning file writes them."""
    return tuple((tile.positions, tile.vectors) for tile in tiles)


def knobs(values: Values) -> list[str]:
    """Names of the sizes in the order of the search: the rows of a block before tiles, which are parts of a block."""
    return [name for name in Values.model_fields if getattr(values, name) is not None and name != "prefill"] + (
        ["prefill"] if values.prefill is not None else []
    )


def neighbours(values: Values, name: str, model: QuantModel, target: Target) -> list[Values]:
    """Values that differ from `values` by one step in the size `name`, if the target's kernels support them."""
    standing = getattr(values, name)
    found: list[Values] = []
    for size in _steps(name, standing, model):
        changed = {**values.given(), name: size}
        if name == "int_accumulators":
            changed |= {key: _shrunk(changed[key], size) for key in ("int_tiles", "four_tiles") if key in changed}
        try:
            candidate = Values.model_validate(changed)
            tuned(select(target.isa), candidate)
        except (LlgenError, ValueError):
            continue
        if candidate != values and candidate not in found:
            found.append(candidate)
    return found


def _steps(name: str, standing: Any, model: QuantModel) -> Iterator[Any]:
    if name.endswith("tiles"):
        yield from _tile_steps([tuple(size) for size in standing])
        return
    limits = {"prefill": (_FEWEST_POSITIONS, min(MOST_POSITIONS, model.context)), "least_parallel": (1 << 10, 1 << 24)}
    low, high = limits.get(name, (1, _MOST_ROWS))
    yield from (size for size in (standing // 2, 2 * standing) if low <= size <= high)


def _tile_steps(tiles: list[Size]) -> Iterator[list[Size]]:
    """Change the first tile, which takes the most positions, or the last tile, which takes one position."""
    (positions, height), rest = tiles[0], tiles[1:]
    if positions > 1:
        for size in (
            (positions + 2, height),
            (positions - 2, height),
            (positions, 2 * height),
            (positions, height // 2),
            (positions // 2, 2 * height),
            (2 * positions, height // 2),
        ):
            if 1 < size[0] <= _MOST_TILE and size[1] in _HEIGHTS:
                yield [size, *(tile for tile in rest if tile[0] < size[0])]
    last = tiles[-1][1]
    yield from ([*tiles[:-1], (1, height)] for height in (last // 2, 2 * last) if height in _HEIGHTS)


def _shrunk(tiles: Sequence[Sequence[int]], height: int) -> list[Size]:
    """Tiles that are at most `height` vectors high."""
    return [(positions, min(vectors, height)) for positions, vectors in tiles]
