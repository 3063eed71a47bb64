"""Reads the safetensors (one file, or shards) and JSON files of a Hugging Face directory.

The files are untrusted: messages escape their names (shown.py), and a shard's name cannot lead out of the directory.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, deserialize

from llgen.errors import LlgenError
from llgen.lfs import refuse_pointer
from llgen.notices import notice
from llgen.shown import shown, shown_error

from ...contract.numerics import Array

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"

_NUMPY = {"F16": "<f2", "F32": "<f4", "F64": "<f8"}
_MOST_DIMENSIONS = 4
"""Limit of a tensor's dimensions: more than a Llama's tensors have, fewer than NumPy's limit."""
_KINDS = ("F32", "F16", "BF16", "F64")

NARROWER: Mapping[str, frozenset[str]] = {
    "float16": frozenset({"F32", "F64", "BF16"}),
    "bfloat16": frozenset({"F32", "F64", "F16"}),
}
"""Number type in config.json -> stored types that have numbers which it cannot represent."""


@dataclass(frozen=True)
class Weights:
    """All tensors of a directory, by name, as float32, and the types in which they are stored (such as `BF16`)."""

    tensors: Mapping[str, Array]
    kinds: frozenset[str]


def read_weights(directory: Path) -> Weights:
    """Read the weights that transformers would read: one file, or else the shards of an index.

    A notice names an index that is ignored. Raises LlgenError for a file that is missing, malformed, a Git LFS pointer,
    or holds numbers that are not floating-point; and when two shards have a tensor of the same name.
    """
    single, index = directory / SINGLE, directory / INDEX
    if single.exists():
        if index.exists():
            notice(f"'{index}' is left over and not read: {SINGLE} has precedence, as in transformers")
        return _read_files([single])
    if not index.exists():
        if (directory / "quantized.safetensors").exists():
            raise LlgenError(f"'{directory}' holds a quantised model", "give the one it was made from")
        raise LlgenError(f"'{directory}' has no {SINGLE}", "save the model with safe serialization")
    return _read_files([directory / name for name in shard_names(index)])


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; raises LlgenError for anything else."""
    try:
        data = path.read_bytes()
        refuse_pointer(data, path)
        raw = json.loads(data.decode("utf-8"))
    except OSError as error:
        raise LlgenError(f"cannot read '{path}': {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # malformed, not UTF-8, or nested beyond reason
        raise LlgenError(f"'{path}' is not valid JSON: {shown_error(error)}") from error
    if not isinstance(raw, dict):
        raise LlgenError(f"'{path}' holds no JSON object")
    return raw


def shard_names(index: Path) -> list[str]:
    """The files that an index names. Raises LlgenError for a malformed index, or names outside of the directory."""
    shards = read_json(index).get("weight_map")
    if not isinstance(shards, dict) or not all(isinstance(shard, str) for shard in shards.values()):
        raise LlgenError(f"'{index}' has no weight_map from tensor names to file names")
    names = sorted(set(shards.values()))
    for name in names:
        if not name.isprintable() or Path(name).name != name or (index.parent / name).is_symlink():
            raise LlgenError(
                f"'{index}' names the shard '{shown(name)}', which is not a plain file of the same directory"
            )
    return names


def _read_files(paths: list[Path]) -> Weights:
    tensors: dict[str, Array] = {}
    kinds: set[str] = set()
    for path in paths:
        for name, entry in _entries(path):
            if name in tensors:
                raise LlgenError(f"'{path}' has a tensor '{shown(name)}' that another shard has, too")
            tensors[name] = _as_float32(name, entry)
            kinds.add(entry["dtype"])
    return Weights(tensors, frozenset(kinds))


def _entries(path: Path) -> list[tuple[str, Mapping[str, Any]]]:
    try:
        data = path.read_bytes()
        refuse_pointer(data, path)
        entries: list[tuple[str, Mapping[str, Any]]] = deserialize(data)  # type: ignore[no-untyped-call]
    except FileNotFoundError as error:
        raise LlgenError(f"'{path.parent}' has no {shown(path.name)}", "the index names it; copy it, too") from error
    except OSError as error:
        raise LlgenError(f"cannot read '{path}': {error.strerror}") from error
    except SafetensorError as error:
        raise LlgenError(
            f"'{path}' is not a valid safetensors file: {shown_error(error)}", "copy it again, if it was cut off"
        ) from error
    return entries


def _as_float32(name: str, entry: Mapping[str, Any]) -> Array:
    data, kind = entry["data"], entry["dtype"]
    if kind not in _KINDS:
        raise LlgenError(f"tensor '{shown(name)}' is stored as {shown(str(kind))}; llgen reads F32, F16, BF16 and F64")
    if len(entry["shape"]) > _MOST_DIMENSIONS:
        raise LlgenError(f"tensor '{shown(name)}' has {len(entry['shape'])} dimensions; a Llama's have 2 at most")
    if kind == "BF16":  # the upper half of a float32
        values = (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4")
    else:
        with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinite, and is refused as such
            values = np.frombuffer(data, _NUMPY[kind]).astype(np.float32)
    return np.asarray(values, dtype=np.float32).reshape(entry["shape"])
