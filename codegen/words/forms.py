"""The forms in which matrices of fewer than 8 bits are stored, in the words of templates."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from llgen.targets.instruction_sets import InstructionSet


@dataclass(frozen=True)
class PairWords:
    """Two parts of a group's words, whose lower four bits share bytes; and their upper bits in place."""

    packed: str
    """Place of the bytes that hold the lower bits."""
    first: str
    second: str
    first_upper: str
    second_upper: str


@dataclass(frozen=True)
class FormWords:
    """How weights of fewer than 8 bits are stored."""

    name: str
    bits: int
    block_bytes: str
    """Bytes of a block, whose columns C calls `columns`."""
    row_bytes: str
    """Bytes of a row of DIM columns."""
    group_bytes: int
    """Bytes of a row's 32 columns."""
    middle: int
    """The number that is added to a weight before it is stored."""
    offsets: int
    """Multiplier of the group offset, which assumes weights + 8."""
    upper: str
    """Name of the bits above the lower four, for the reader."""
    upper_times: str
    """The factor from parts to bits."""
    upper_mask: int
    mask: str
    """The upper bits in the four bytes of a word."""
    parts: int
    """Parts of a group's words; a word of upper bits serves one word of each part."""
    pairs: Sequence[PairWords]

_NAMES = {4: "four", 5: "five", 6: "six"}


def group_forms(bits_used: Collection[int], kernels: InstructionSet) -> list[FormWords]:
    """The forms of a model that has matrices of these numbers of bits, the fewest bits first."""
    used = sorted(bits for bits in bits_used if bits < 8)
    return [_form(bits, kernels) for bits in used]


def _form(bits: int, kernels: InstructionSet) -> FormWords:
    step = kernels.four_step
    fours = f"(columns + {step} - 1) / {step} * {step} * BLOCK_ROWS / 2"
    upper = bits - 4
    parts = 8 // upper if upper else 0
    return FormWords(
        name=_NAMES[bits],
        bits=bits,
        block_bytes=f"(columns + 31) / 32 * {4 * bits} * BLOCK_ROWS" if upper else fours,
        row_bytes=f"(DIM + 31) / 32 * {4 * bits}" if upper else "(DIM + FOUR_STEP - 1) / FOUR_STEP * FOUR_STEP / 2",
        group_bytes=4 * bits,
        middle=1 << (bits - 1),
        offsets=1 << upper,
        upper="fifth bits" if upper == 1 else "fifth and sixth bits",
        upper_times="" if upper == 1 else f" * {upper}",
        upper_mask=(1 << upper) - 1,
        mask="0x10101010" if upper == 1 else "0x30303030",
        parts=parts,
        pairs=[
            PairWords(
                packed=_behind("packed", 4 * first),
                first=_behind("i", first),
                second=_behind("i", first + parts // 2),
                first_upper=_moved(4 - upper * first),
                second_upper=_moved(4 - upper * (first + parts // 2)),
            )
            for first in range(parts // 2)
        ],
    )


def _behind(place: str, parts: int) -> str:
    if parts == 0:
        return place
    return f"{place} + part" if parts == 1 else f"{place} + {parts} * part"


def _moved(places: int) -> str:
    """The upper bits of a part of the words, above the lower four."""
    if places == 0:
        return "upper"
    return f"upper << {places}" if places > 0 else f"upper >> {-places}"
