"""The box of software floats, for processors without a unit for floats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .decisions import Decisions
from .lists import number_rows
from .soft_exp import SoftExp, soft_exp


@dataclass(frozen=True)
class Soft:
    """What the processor can do with integers, and constants in fixed point."""

    wide_products: bool
    """It multiplies 32 by 32 bits to 64."""
    counts_zeros: bool
    """It counts the zeros before a number's highest bit."""
    soft_doubt: int
    """What the upper half of a product may lack, as it is computed in integers."""
    soft_place_rows: Sequence[str]
    """The binary digits of each byte's number."""
    soft_exp: SoftExp


def soft_floats(decided: Decisions) -> Soft:
    """Fill the box."""
    kernels = decided.kernels
    return Soft(
        wide_products=kernels.wide_products,
        counts_zeros=kernels.counts_zeros,
        soft_doubt=0 if kernels.wide_products else 2,
        soft_place_rows=number_rows([byte.bit_length() for byte in range(256)], 32),
        soft_exp=soft_exp(kernels),
    )
