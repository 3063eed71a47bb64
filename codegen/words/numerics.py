"""The box of numerics: the constants of the contract, as C literals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..contract import literals, numerics
from .decisions import Decisions


@dataclass(frozen=True)
class Numerics:
    """Constants of norms, exponentials and quantising; `codegen/contract/numerics.py` says what each one is."""

    dim_float: str
    norm_eps: str
    exp_limit: str
    exp_limit_whole: int
    exp_round: str
    exp_log2e: str
    exp_ln2_high: str
    exp_ln2_low: str
    exp_first: str
    """The first coefficient of the polynomial."""
    exp_rest: Sequence[str]
    """All coefficients except the first."""
    exp_middle: Sequence[str]
    """All coefficients except the first and the last."""
    exp_last: str
    weight_levels: str
    """Maximum of a quantised attention weight, as a float."""
    whole_weight_levels: int
    """The same as an integer."""
    smallest_step: str


def numeric_constants(decided: Decisions) -> Numerics:
    """Fill the box."""
    coefficients = [literals.float32(float(c)) for c in numerics.EXP_POLYNOMIAL]
    return Numerics(
        dim_float=literals.float32(decided.model.config.dim),
        norm_eps=literals.float32(decided.model.config.norm_eps),
        exp_limit=literals.float32(float(numerics.EXP_LIMIT)),
        exp_limit_whole=int(numerics.EXP_LIMIT),
        exp_round=literals.float32(float(numerics.ROUND_TO_WHOLE)),
        exp_log2e=literals.float32(float(numerics.LOG2E)),
        exp_ln2_high=literals.float32(float(numerics.LN2_HIGH)),
        exp_ln2_low=literals.float32(float(numerics.LN2_LOW)),
        exp_first=coefficients[0],
        exp_rest=coefficients[1:],
        exp_middle=coefficients[1:-1],
        exp_last=coefficients[-1],
        weight_levels=literals.float32(numerics.WEIGHT_LEVELS),
        whole_weight_levels=numerics.WEIGHT_LEVELS,
        smallest_step=literals.float32(float(numerics.SMALLEST_STEP)),
    )
