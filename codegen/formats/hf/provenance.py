"""`source.json`: what a model directory was imported from, so that the original can be recognised later.

    {"llgen": "0.1.0", "form": "gguf", "files": [{"name": "m.gguf", "bytes": 385376, "sha256": "…"}], "tokenizer": null}

A name is a file name, never a path. `tokenizer` describes, in the same way, a tokenizer file given with the source.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from llgen.errors import LlgenError
from llgen.shown import shown

from ... import __version__
from .weights import INDEX, SINGLE, read_json, shard_names

SOURCE = "source.json"

_HUGGING_FACE = (
    "config.json",
    "generation_config.json",
    "added_tokens.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
)
"""Files besides the weights that llgen or transformers reads from a directory."""


def describe_source(path: Path, form: str, tokenizer: Path | None = None) -> bytes:
    """The content of `source.json` for a file or a Hugging Face directory. Raises LlgenError for unreadable files."""
    facts = {
        "llgen": __version__,
        "form": form,
        "files": [_described(file) for file in _files(path)],
        "tokenizer": None if tokenizer is None else _described(tokenizer),
    }
    return (json.dumps(facts, indent=2) + "\n").encode()


def require_source(directory: Path, path: Path) -> None:
    """Raise LlgenError unless `path` is, by its digests, what the model in `directory` was imported from."""
    if not (directory / SOURCE).exists():
        raise LlgenError(f"'{directory}' has no {SOURCE} to compare '{path}' with", "import it again")
    told = read_json(directory / SOURCE).get("files")
    if not isinstance(told, list) or not all(isinstance(entry, Mapping) for entry in told):
        raise LlgenError(f"'{directory / SOURCE}' lists no files", "import it again")
    now = {entry["name"]: entry for entry in map(_described, _files(path))}
    # A single file may have been renamed; the files of a directory have fixed names.
    found = list(now.values()) if path.is_file() else [now.get(str(entry.get("name"))) for entry in told]
    if len(told) != len(now) or len(told) != len(found):
        raise LlgenError(f"'{path}' has {len(now)} files of a model; '{directory}' was made from {len(told)}")
    for entry, file in zip(told, found, strict=True):
        if file is None:
            raise LlgenError(f"'{path}' has no {shown(str(entry.get('name')))}, which '{directory}' was made from")
        if entry.get("sha256") != file["sha256"]:
            raise LlgenError(
                f"'{file['name']}' in '{path.parent if path.is_file() else path}' is not what '{directory}' was made"
                f" from: its SHA-256 begins with {file['sha256'][:12]}, not {shown(str(entry.get('sha256')))[:12]}",
                "give the original, or import this one",
            )


def _files(path: Path) -> Iterable[Path]:
    if path.is_file():
        return [path]
    names = [name for name in _HUGGING_FACE if (path / name).exists()]
    if (path / SINGLE).exists():
        names.append(SINGLE)
    elif (path / INDEX).exists():
        names += [INDEX, *shard_names(path / INDEX)]
    return [path / name for name in names]


def _described(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return {"name": path.name, "bytes": file.tell(), "sha256": digest}
    except OSError as error:
        raise LlgenError(f"cannot read '{path}': {error.strerror}") from error
