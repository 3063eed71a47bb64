"""The rotation in Hugging Face's `config.json`: its base and its scaling, from the places where transformers looks.

A `rope_scaling` that is not empty replaces `rope_parameters` as a whole. A `rope_theta` inside of either has precedence
over a `rope_theta` beside it; an `original_max_position_embeddings` beside them over one inside.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llgen.errors import LlgenError
from llgen.notices import notice
from llgen.shown import shown_value

from ...model.rope import LinearScaling, Llama3Scaling, RopeScaling, TableScaling, YarnScaling
from .keys import require_neutral_rope

_THETA = 10000.0
"""Where a file names no base."""
_POSITIONS = 2048
"""Where a file names no context."""
_SUPPORTED = "default, linear, llama3, yarn"

_READ: Mapping[str, frozenset[str]] = {
    "default": frozenset(),
    "linear": frozenset({"factor"}),
    "llama3": frozenset({"factor", "low_freq_factor", "high_freq_factor"}),
    "yarn": frozenset({"factor", "attention_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim", "truncate"}),
    "longrope": frozenset({"factor", "attention_factor", "long_factor", "short_factor"}),
}
"""Kind of rotation -> the keys that it uses, besides its base and the original context."""

_WHY = {
    "dynamic": ": its angles depend on the length of the text",
    "longrope": ": its angles depend on the length of the text",
    "proportional": ": a part of each head is not turned",
}


@dataclass(frozen=True)
class Rotation:
    """What a file says about RoPE."""

    theta: float
    scaling: RopeScaling | None
    where: str
    """The key of config.json that says it, for messages."""


def rotation_from_hf(raw: Mapping[str, Any], path: Path) -> Rotation:
    """Read base and scaling. Messages name `path`.

    Raises LlgenError for a scaling that llgen lacks, a value out of range, and two places that differ.
    """
    places = [key for key in ("rope_scaling", "rope_parameters") if raw.get(key)]
    found = [_one_place(raw, key, path) for key in places]
    if len({rotation.theta for rotation in found}) > 1:
        raise LlgenError(
            f"'{path}' has rope_theta {found[0].theta:g} by its rope_scaling and {found[1].theta:g} by its"
            " rope_parameters",
            "take one of the two away",
        )
    if len(found) > 1 and found[0].scaling != found[1].scaling:
        raise LlgenError(
            f"'{path}' has one scaling in rope_scaling and another in rope_parameters", "take one of the two away"
        )
    beside = raw.get("rope_theta")
    if not found:
        return Rotation(_number("rope_theta", raw.get("rope_theta", _THETA), path), None, "rope_theta")
    if beside is not None and beside != found[0].theta:
        notice(
            f"'{path}' has rope_theta twice: {found[0].theta:g}, within {places[0]}, counts,"
            f" and not {shown_value(beside)}"
        )
    return found[0]


def _one_place(raw: Mapping[str, Any], where: str, path: Path) -> Rotation:
    rope = raw[where]
    if not isinstance(rope, dict):
        raise LlgenError(f"'{path}' has {where} = {shown_value(rope)}; it must be a JSON object")
    theta = _number("rope_theta", rope.get("rope_theta", raw.get("rope_theta", _THETA)), path)
    return Rotation(theta, scaling_from_hf(rope, raw, where, path), where)


def scaling_from_hf(
    rope: Mapping[str, Any], raw: Mapping[str, Any], where: str, path: Path | str
) -> RopeScaling | None:
    """The scaling of a `rope_scaling` or `rope_parameters`; None for a plain rotation.

    `raw` is the whole config.json, `where` the name of the key and `path` that of the file, for messages.
    Raises LlgenError for a kind that llgen lacks, and for a missing value, or one out of range.
    """
    kind = rope.get("rope_type", rope.get("type", "default"))
    if not isinstance(kind, str) or kind not in _READ:
        why = _WHY.get(kind, "") if isinstance(kind, str) else ""
        raise LlgenError(f"'{path}' has {where} of type {shown_value(kind)}{why}; llgen supports {_SUPPORTED}")
    require_neutral_rope(rope, _READ[kind], where, path)
    section = _Section(kind, rope, raw, where, path)
    if kind == "linear":
        return section.made(LinearScaling, factor=section.number("factor"))
    if kind == "llama3":
        values = {key: section.number(key) for key in ("factor", "low_freq_factor", "high_freq_factor")}
        return section.made(Llama3Scaling, **values, original_max_position_embeddings=section.original())
    if kind == "yarn":
        return _yarn(section)
    return _table(section) if kind == "longrope" else None


@dataclass(frozen=True)
class _Section:
    """A `rope_scaling` or `rope_parameters` of a kind; all methods raise LlgenError with file, key and value."""

    kind: str
    rope: Mapping[str, Any]
    raw: Mapping[str, Any]
    """The whole config.json."""
    where: str
    path: Path | str

    def number(self, key: str, default: float | None = None) -> float:
        """A number; `default`, if there is one, in place of an absent value or null."""
        value = self.rope.get(key)
        if value is None and default is not None:
            return default
        if key not in self.rope:
            raise LlgenError(f"'{self.path}' has {self.where} of type '{self.kind}' without {key}, which it needs")
        return _number(f"{self.where}.{key}", value, self.path)

    def original(self) -> int:
        """The positions before scaling."""
        key = "original_max_position_embeddings"
        if key in self.raw:
            return self._positions(key, self.raw[key])
        return self._positions(key, self.rope[key]) if key in self.rope else self.context()

    def context(self) -> int:
        """The positions of the model."""
        key = "max_position_embeddings"
        return self._positions(key, self.raw.get(key, _POSITIONS))

    def made(self, scaling: type[RopeScaling], **values: Any) -> RopeScaling:
        """A scaling of these values; its errors get the names of file and section."""
        try:
            return scaling(**values)
        except LlgenError as error:
            raise LlgenError(f"'{self.path}' has {self.where} whose {error.message}", error.hint) from error

    def _positions(self, key: str, value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value < 1 << 31:
            raise LlgenError(
                f"'{self.path}' has {self.where} with {key} = {shown_value(value)}; it must be an integer of 1 or more"
            )
        return value


def _yarn(section: _Section) -> RopeScaling:
    truncate = section.rope.get("truncate", True)
    if not isinstance(truncate, bool | None):
        raise LlgenError(
            f"'{section.path}' has {section.where}.truncate = {shown_value(truncate)}; it must be true or false"
        )
    original = section.original()
    follows = "factor" in section.rope and section.rope["factor"] is None
    factor = section.context() / original if follows else section.number("factor")
    usual = _attention_factor(factor, section.number("mscale", 0.0), section.number("mscale_all_dim", 0.0))
    return section.made(
        YarnScaling,
        factor=factor,
        original_max_position_embeddings=original,
        attention_factor=section.number("attention_factor", usual),
        beta_fast=section.number("beta_fast", 32.0) or 32.0,  # as transformers takes a 0
        beta_slow=section.number("beta_slow", 1.0) or 1.0,
        truncate=bool(truncate),
    )


def _attention_factor(factor: float, mscale: float, mscale_all_dim: float) -> float:
    """Yarn's, where a file does not say it."""
    if factor <= 1 or not mscale or not mscale_all_dim:
        return YarnScaling.usual_attention_factor(factor)
    below = 0.1 * mscale_all_dim * math.log(factor) + 1.0
    return (0.1 * mscale * math.log(factor) + 1.0) / below if below else math.nan


def _table(section: _Section) -> RopeScaling:
    """A longrope whose factors do not depend on the length of the text."""
    short, long = section.rope.get("short_factor"), section.rope.get("long_factor")
    if not isinstance(short, list) or short != long or section.rope.get("attention_factor") is None:
        raise LlgenError(
            f"'{section.path}' has {section.where} of type 'longrope'{_WHY['longrope']}; llgen supports {_SUPPORTED},"
            " and longrope if short_factor equals long_factor and there is an attention_factor"
        )
    factors = tuple(_number(f"{section.where}.short_factor", factor, section.path) for factor in short)
    return section.made(TableScaling, factors=factors, attention_factor=section.number("attention_factor"))


def scaling_to_hf(scaling: RopeScaling, positions: int) -> dict[str, Any]:
    """The content of `rope_scaling` for a model of so many `positions`."""
    if isinstance(scaling, TableScaling):
        factors = list(scaling.factors)
        return {
            "rope_type": "longrope",
            "attention_factor": scaling.attention_factor,
            "factor": 1.0,
            "long_factor": factors,
            "original_max_position_embeddings": positions,
            "short_factor": factors,
        }
    told: dict[str, Any] = {"rope_type": scaling.kind, "factor": scaling.factor}
    if isinstance(scaling, LinearScaling):
        return told
    told["original_max_position_embeddings"] = scaling.original_max_position_embeddings
    if isinstance(scaling, Llama3Scaling):
        return told | {"low_freq_factor": scaling.low_freq_factor, "high_freq_factor": scaling.high_freq_factor}
    usual = {
        "attention_factor": YarnScaling.usual_attention_factor(scaling.factor),
        "beta_fast": 32.0,
        "beta_slow": 1.0,
        "truncate": True,
    }
    return told | {key: getattr(scaling, key) for key in usual if getattr(scaling, key) != usual[key]}


def _number(key: str, value: Any, path: Path | str) -> float:
    # Not float(): it takes text too. The bound keeps whole numbers beyond a float's range out.
    if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) < 1e30:
        raise LlgenError(f"'{path}' has {key} = {shown_value(value)}; it must be a number")
    return float(value)
