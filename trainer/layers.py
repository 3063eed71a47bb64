"""One configuration made of layers: the defaults, a preset, the user's file, single values (`model.dim=96`).

Each layer overrides the layers before it. The result is validated once; an error names the wrong key.
"""

from __future__ import annotations

import shlex
import tomllib
from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from llgen.errors import LlgenError, UsageError, unknown_name
from llgen.lfs import refuse_pointer_file
from llgen.shown import shown, shown_error, shown_value

from .config import TrainConfig

_ROOM_TO_CHANGE = {"schedule.iterations", "schedule.minutes", "evaluation.prompt", "evaluation.sample_tokens"}
"""Settings that may change when a run is continued: its end, and the samples that it shows."""


def preset_names() -> list[str]:
    """The names of the presets, smallest model first."""
    return [path.name.removesuffix(".toml") for path in _presets()]


def read_preset(name: str) -> dict[str, Any]:
    """The values of a preset; raises UsageError for an unknown name."""
    for path in _presets():
        if path.name == f"{name}.toml":
            return tomllib.loads(path.read_text(encoding="utf-8"))
    raise unknown_name("preset", name, preset_names())


def _presets() -> list[Any]:
    found = [path for path in files("llgen.trainer.presets").iterdir() if path.name.endswith(".toml")]
    return sorted(found, key=lambda path: (tomllib.loads(path.read_text())["model"]["dim"], path.name))


def read_config_file(path: Path) -> dict[str, Any]:
    """The values of a user's TOML file; raises LlgenError when it cannot be read, is not TOML, or has no values."""
    refuse_pointer_file(path)
    hint = f"--data {shlex.quote(str(path))}, if the file is the text; doc/training.md shows a configuration"
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise LlgenError(f"there is no configuration '{path}'", "doc/training.md shows one") from error
    except OSError as error:
        raise LlgenError(f"cannot read '{path}': {error.strerror}", hint) from error
    except ValueError as error:
        raise LlgenError(f"'{path}' is not TOML: {shown_error(error)}", hint) from error
    if not values:
        raise LlgenError(f"'{path}' holds no settings", hint)
    return values


def setting(text: str) -> dict[str, Any]:
    """`model.dim=96` as nested values. The right side is read as TOML; if it is not TOML, it is a string.

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
    """One configuration from layers of nested values; later layers override earlier ones.

    Raises UsageError that names the unknown key, or the wrong value and its key.
    """
    merged: dict[str, Any] = {}
    for layer in layers:
        _merge(merged, layer)
    try:
        return TrainConfig.model_validate(merged)
    except ValidationError as error:
        raise _explained(error) from error


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
            into.pop(other, None)  # a new end replaces the end of an earlier layer


def _explained(error: ValidationError) -> UsageError:
    first = error.errors()[0]
    place = [str(part) for part in first["loc"]]
    key = ".".join(place)
    if first["type"] == "extra_forbidden":
        return unknown_name("setting", key, [*known_keys(), *TrainConfig.model_fields], "doc/training.md lists them")
    reason = shown(first["msg"].removeprefix("Value error, "), 200)
    given = "" if isinstance(first["input"], Mapping | BaseModel) else f" is {shown_value(first['input'])}"
    limits = first.get("ctx", {})
    return UsageError(
        f"{shown(key) or 'the configuration'}{given}: {reason[0].lower()}{reason[1:]}",
        "doc/training.md lists the settings",
        {"setting": key, **{name: limit for name, limit in limits.items() if isinstance(limit, int | float | str)}},
    )


def known_keys() -> list[str]:
    """Every setting, as `section.key`."""
    return list(_flat(TrainConfig().model_dump()))


def differences(begun: TrainConfig, asked: TrainConfig) -> list[str]:
    """The settings that differ from the run's start although they must not change when a run is continued."""
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
