"""RoPE's angles, plain and scaled: at each position, pair i of a head turns by the position times a frequency.

A model that was trained on short texts reads longer ones when its frequencies are lowered. Every kind of scaling here
gives fixed frequencies, so that the angles depend on the position alone and generated C needs nothing but the tables of
their cosines and sines. Kinds whose frequencies change with the length of a text (dynamic, longrope) are not supported.

The fields have the names that Hugging Face's config.json gives them. All is float64; spec.py rounds the tables.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from llgen.errors import LlgenError
from llgen.shown import shown_value

Frequencies = npt.NDArray[np.float64]
"""[head_dim / 2], in radians a position."""

_LARGEST = 65536.0
"""Limit of factors; with it, no number of a table is subnormal."""


def plain_frequencies(theta: float, head_dim: int) -> Frequencies:
    """theta^(-2i / head_dim) (Su et al., 2021, arXiv:2104.09864)."""
    exponents = -np.arange(0, head_dim, 2, dtype=np.float64) / head_dim
    frequencies: Frequencies = theta**exponents
    return frequencies


@dataclass(frozen=True)
class LinearScaling:
    """All frequencies divided by one factor (Chen et al., 2023, arXiv:2306.15595)."""

    factor: float

    kind: ClassVar[str] = "linear"
    attention_factor: ClassVar[float] = 1.0

    def __post_init__(self) -> None:
        _require("factor", self.factor, 1.0, _LARGEST)

    def frequencies(self, theta: float, head_dim: int) -> Frequencies:
        """The scaled frequencies of a head."""
        return plain_frequencies(theta, head_dim) / self.factor


@dataclass(frozen=True)
class Llama3Scaling:
    """Frequencies that turn fewer than `low_freq_factor` times over the original context are divided by `factor`.

    Those that turn more than `high_freq_factor` times stay; in between, the divisor changes smoothly (Llama 3.1).
    """

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_max_position_embeddings: int

    kind: ClassVar[str] = "llama3"
    attention_factor: ClassVar[float] = 1.0

    def __post_init__(self) -> None:
        _require("factor", self.factor, 1.0, _LARGEST)
        _require("low_freq_factor", self.low_freq_factor, 1 / _LARGEST, _LARGEST)
        _require("high_freq_factor", self.high_freq_factor, 1 / _LARGEST, _LARGEST)
        if self.high_freq_factor <= self.low_freq_factor:
            raise LlgenError(
                f"high_freq_factor is {self.high_freq_factor:g};"
                f" it must be above low_freq_factor, {self.low_freq_factor:g}"
            )
        _require_context(self.original_max_position_embeddings)

    def frequencies(self, theta: float, head_dim: int) -> Frequencies:
        """The scaled frequencies of a head."""
        plain = plain_frequencies(theta, head_dim)
        turns = self.original_max_position_embeddings * plain / (2 * math.pi)
        kept = np.clip((turns - self.low_freq_factor) / (self.high_freq_factor - self.low_freq_factor), 0.0, 1.0)
        scaled: Frequencies = (1.0 - kept) * (plain / self.factor) + kept * plain
        return scaled


@dataclass(frozen=True)
class YarnScaling:
    """Pairs up to the one that turns `beta_fast` times over the original context stay; from `beta_slow` on they are
    divided by `factor`; in between, both are mixed linearly. Queries and keys are multiplied by `attention_factor`.

    (Peng et al., 2023, arXiv:2309.00071)
    """

    factor: float
    original_max_position_embeddings: int
    attention_factor: float
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    truncate: bool = True
    """Whether the two ends are rounded to whole pairs, outwards."""

    kind: ClassVar[str] = "yarn"

    def __post_init__(self) -> None:
        _require("factor", self.factor, 1.0, _LARGEST)
        _require("attention_factor", self.attention_factor, 1 / 1024, 1024.0)
        _require("beta_fast", self.beta_fast, 1 / _LARGEST, _LARGEST)
        _require("beta_slow", self.beta_slow, 1 / _LARGEST, _LARGEST)
        _require_context(self.original_max_position_embeddings)

    @staticmethod
    def usual_attention_factor(factor: float) -> float:
        """The paper's: 1 + 0.1 ln(factor)."""
        return 0.1 * math.log(factor) + 1.0 if factor > 1 else 1.0

    def frequencies(self, theta: float, head_dim: int) -> Frequencies:
        """The scaled frequencies of a head. Raises LlgenError when the two ends are the wrong way round."""
        plain = plain_frequencies(theta, head_dim)
        low, high = self._end(self.beta_fast, theta, head_dim), self._end(self.beta_slow, theta, head_dim)
        if self.truncate:
            low, high = math.floor(low), math.ceil(high)
        low, high = max(low, 0), min(high, head_dim - 1)
        if low > high:  # programs disagree about it
            raise LlgenError(
                f"rope_scaling would mix pairs {low:g} to {high:g}, which is no range; it follows from"
                " original_max_position_embeddings, beta_fast, beta_slow and rope_theta"
            )
        width = high - low if high > low else 0.001
        divided = np.clip((np.arange(head_dim // 2) - low) / width, 0.0, 1.0)
        scaled: Frequencies = plain / self.factor * divided + plain * (1.0 - divided)
        return scaled

    def _end(self, turns: float, theta: float, head_dim: int) -> float:
        """The pair, not a whole number, that turns so often over the original context."""
        length = self.original_max_position_embeddings / (turns * 2 * math.pi)
        return head_dim * math.log(length) / (2 * math.log(theta))


@dataclass(frozen=True)
class TableScaling:
    """Every frequency divided by a factor of its own; queries and keys are multiplied by `attention_factor`.

    This is a GGUF's tensor `rope_freqs`. A longrope of Hugging Face whose factors for short and for long texts are
    equal is the same.
    """

    factors: tuple[float, ...]
    attention_factor: float = 1.0

    kind: ClassVar[str] = "table"

    def __post_init__(self) -> None:
        for index, factor in enumerate(self.factors):
            _require(f"factor {index} of rope_scaling", factor, 1 / _LARGEST, _LARGEST)
        _require("attention_factor", self.attention_factor, 1 / 1024, 1024.0)

    def frequencies(self, theta: float, head_dim: int) -> Frequencies:
        """The scaled frequencies of a head. Raises LlgenError when there is not one factor for each pair."""
        if len(self.factors) != head_dim // 2:
            raise LlgenError(f"rope_scaling has {len(self.factors)} factors; heads of {head_dim} have {head_dim // 2}")
        scaled: Frequencies = plain_frequencies(theta, head_dim) / np.array(self.factors)
        return scaled


RopeScaling = LinearScaling | Llama3Scaling | YarnScaling | TableScaling


def _require(name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:  # nor NaN
        raise LlgenError(f"{name} is {shown_value(value)}; it must be {least:g} to {most:g}")


def _require_context(value: int) -> None:
    most = 1 << 30
    if not 1 <= value <= most:
        raise LlgenError(f"original_max_position_embeddings is {shown_value(value)}; it must be 1 to {most}")
