"""The constants of the exponential in fixed point, for parts without a unit for floats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from llgen.targets.instruction_sets import InstructionSet

from ..contract import numerics

_MOST = 85  # 64 / ln 2 is 92; but rounding 86 times the smaller part of ln 2 would take a rule of its own


@dataclass(frozen=True)
class SoftExp:
    """What `targets/isa/soft_float/exp_soft.c.j2` prints: integers, in units that it names."""

    most: int
    low_rows: Sequence[str]
    """n ln 2's smaller part for each n, in units of 2^-36, less a little where a tie is rounded down"""
    first_bits: str
    last_bits: str
    """The bits of the first and the last |x| that are looked at"""
    log2e: str
    """In units of 2^-14: n comes out wrong only where r is near half of ln 2, and that is looked at."""
    ln2_high: str
    """In units of 2^-25, in which it is whole"""
    half_ln2: str
    """The largest |r| of which n is beyond doubt, in units of 2^-32"""
    first_term: str
    """The first coefficient times r, in units of 2^-31"""
    second: str
    """A coefficient in units of 2^-31, like all following coefficients"""
    rest: Sequence[str]
    centre: str
    """Half of what is lost by rounding down all the time"""
    error: str
    """Of s in units of 2^-32, beside what grows with the square of r"""


def soft_exp(kernels: InstructionSet) -> SoftExp:
    """Spell out the constants for parts that multiply 32 by 32 bits to 64, or only 16 by 16 to 32."""
    low = [_low(n) for n in range(_MOST + 1)]
    fixed = [round(float(c) * 2.0**31) for c in numerics.EXP_POLYNOMIAL]
    wide = kernels.wide_products
    short = round(float(numerics.EXP_POLYNOMIAL[0]) * 2.0**25)
    return SoftExp(
        most=_MOST,
        first_bits=f"0x{_bits(2.0**-8):08X}",
        last_bits=f"0x{_bits((_MOST + 0.5) * np.log(2) - 2.0**-6):08X}",
        low_rows=[" ".join(f"{value}," for value in low[start : start + 8]) for start in range(0, len(low), 8)],
        log2e=str(round(float(numerics.LOG2E) * 2**14)),
        ln2_high=str(int(numerics.LN2_HIGH * 2**25)),
        half_ln2=str(int((np.log(2) / 2 - 2.0**-16) * 2**32)),
        first_term=f"upper({fixed[0]}, r)" if wide else f"({short} * (r >> 16) >> 10)",
        second=str(fixed[1]),
        rest=[str(value) for value in fixed[2:]],
        centre="1" if wide else "2",
        error="4",
    )


def _low(n: int) -> int:
    """n ln 2's smaller part in units of 2^-36, as adding half a power of two rounds it to even, where it is a tie.

    A number is half way between multiples of one power of two alone. What it is added to is a multiple of twice that,
    but where it is 1024; there that may be odd, and the C adds one.
    """
    low = int(float(np.float32(n) * -numerics.LN2_LOW) * 2.0**36)
    half = low & -low
    assert half != 1024 or low & 2048 == 0
    return low - 2 if 8 <= half < 1024 and low & (2 * half) == 0 else low - 1 if half == 1024 else low


def _bits(value: float) -> int:
    return int(np.float32(value).view(np.uint32))
