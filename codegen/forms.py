"""The forms in which matrices of fewer than 8 bits are stored, in the words of templates."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from .context import FormWords, PairWords
from .kernels import KernelSet

_NAMES = {4: "four", 5: "five", 6: "six"}


def group_forms(bits_used: Collection[int], kernels: KernelSet) -> list[FormWords]:
    """Those of a model that has matrices of so many bits, the fewest first; each is told from those behind it."""
    used = sorted(bits for bits in bits_used if bits < 8)
    return [_form(bits, _test(bits, used), kernels) for bits in used]


def listed(bits: Sequence[int]) -> str:
    """Such as "4, 5 or 6"; nothing of nothing."""
    words = [str(each) for each in bits]
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} or {words[-1]}"


def _test(bits: int, used: Sequence[int]) -> str:
    if len(used) == 1:
        return ""
    if bits == used[-1]:
        return "else"
    return f"{'' if bits == used[0] else 'else '}if (w.bits == {bits})"


def _form(bits: int, test: str, kernels: KernelSet) -> FormWords:
    step = kernels.four_step
    fours = f"(columns + {step} - 1) / {step} * {step} * BLOCK_ROWS / 2"
    upper = bits - 4
    parts = 8 // upper if upper else 0
    return FormWords(
        name=_NAMES[bits],
        bits=bits,
        test=test,
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
