"""One configuration from many layers: the defaults, a preset, the user's file, single values (`model.dim=96`).

Each layer overrides the one before; what they make together is checked once, and a wrong key is named.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from llgen.codegen.errors import LlgenError, UsageError

from .config import TrainConfig

_ROOM_TO_CHANGE = {"schedule.iterations", "schedule.minutes", "evaluation.prompt", "evaluation.sample_tokens"}
"""What a run may be told anew when it goes on: where it ends, and what it shows on the way."""


def preset_names() -> list[str]:
    """The names that `--preset` knows, smallest model first."""
    return [path.name.removesuffix(".toml") for path in _presets()]


def read_preset(name: str) -> dict[str, Any]:
    """A preset's values; raises UsageError for a name that is none."""
    for path in _presets():
        if path.name == f"{name}.toml":
            return tomllib.loads(path.read_text(encoding="utf-8"))
    raise UsageError(f"there is no preset '{name}'", f"one of {', '.join(preset_names())}")


def _presets() -> list[Any]:
    found = [path for path in files("llgen.trainer.presets").iterdir() if path.name.endswith(".toml")]
    return sorted(found, key=lambda path: (tomllib.loads(path.read_text())["model"]["dim"], path.name))


def read_config_file(path: Path) -> dict[str, Any]:
    """The values of a user's TOML file; raises LlgenError when it cannot be read as one."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise LlgenError(f"cannot read '{path}': {error.strerror}", "doc/training.md shows a configuration") from error
    except ValueError as error:
        raise LlgenError(f"'{path}' is not TOML: {error}", "doc/training.md shows a configuration") from error


def setting(text: str) -> dict[str, Any]:
    """`model.dim=96` as nested values. The right side is TOML, or else a string.

    Raises UsageError when there is no key or no equals sign.
    """
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise UsageError(f"'{text}' is not a setting", "--set KEY=VALUE, e.g. --set model.dim=96")
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except ValueError:
        parsed = value
    for part in reversed(key.strip().split(".")):
        parsed = {part: parsed}
    nested: dict[str, Any] = parsed
    return nested


def layered(layers: Iterable[Mapping[str, Any]]) -> TrainConfig:
    """One configuration from layers of nested values, later ones over earlier ones; `preset` names one beneath.

    Raises UsageError with the key that is unknown, or the value that is wrong.
    """
    merged: dict[str, Any] = {}
    for layer in layers:
        _merge(merged, layer)
    try:
        return TrainConfig.model_validate(merged)
    except ValidationError as error:
        raise UsageError(*_explained(error)) from error


def _merge(into: dict[str, Any], layer: Mapping[str, Any]) -> None:
    for key, value in layer.items():
        if isinstance(value, Mapping):
            if not isinstance(into.get(key), dict):
                into[key] = {}
            _merge(into[key], value)
        else:
            into[key] = value
    for end, other in (("iterations", "minutes"), ("minutes", "iterations")):
        if end in layer and other not in layer:
            into.pop(other, None)  # a new end replaces the one beneath


def _explained(error: ValidationError) -> tuple[str, str]:
    first = error.errors()[0]
    place = [str(part) for part in first["loc"]]
    key = ".".join(place)
    if first["type"] == "extra_forbidden":
        close = difflib.get_close_matches(key, [*known_keys(), *TrainConfig.model_fields], n=1, cutoff=0.5)
        return f"there is no setting '{key}'", (f"{close[0]}" if close else "doc/training.md lists them")
    reason = first["msg"].removeprefix("Value error, ")
    given = "" if isinstance(first["input"], Mapping | BaseModel) else f" is {first['input']!r}"
    return (
        f"{key or 'the configuration'}{given}: {reason[0].lower()}{reason[1:]}",
        "doc/training.md lists the settings",
    )


def known_keys() -> list[str]:
    """Every setting, as `section.key`."""
    return list(_flat(TrainConfig().model_dump()))


def differences(begun: TrainConfig, asked: TrainConfig) -> list[str]:
    """The settings in which a run that goes on may not differ from what it was begun with, but does."""
    before, after = _flat(begun.model_dump()), _flat(asked.model_dump())
    return [key for key in before if before[key] != after[key] and key not in _ROOM_TO_CHANGE]


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
