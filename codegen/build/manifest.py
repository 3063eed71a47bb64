"""Writing a generated folder: only files that changed, and only over files that llgen wrote."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llgen.errors import LlgenError
from llgen.shown import shown
from llgen.sole_writer import is_passing, require_no_file, sole_writer
from llgen.whole import file_sha256, private_place, put, settle

from ..render.files import FileSet

MANIFEST = "manifest.json"


def write(files: FileSet, directory: Path, facts: Mapping[str, Any]) -> list[str]:
    """Make `directory` hold exactly `files` and their manifest; returns the paths that changed.

    Files that only the earlier manifest lists are removed.
    Raises LlgenError when the directory holds anything else, before writing anything.
    """
    with sole_writer(directory), private_place(directory) as place:
        put(files, place)
        return publish(place, files, directory, facts)


def publish(
    place: Path, files: FileSet, directory: Path, facts: Mapping[str, Any], artifact: str | None = None
) -> list[str]:
    """As write, for files that are already in a temporary folder of the directory; `artifact` names the program.

    While the files are moved one by one, the manifest lists no file.
    """
    owned = _owned(directory)
    require_own(directory, files, artifact)
    manifest = {
        **facts,
        "artifact": artifact,
        "files": {path: hashlib.sha256(content).hexdigest() for path, content in sorted(files.items())},
    }
    names = {*files, *([artifact] if artifact else [])}
    put({MANIFEST: _as_json(manifest)}, place)
    unfinished = {"unfinished": True, "artifact": None, "files": dict.fromkeys(sorted(owned | names), "")}
    return settle(
        place, directory, names | {MANIFEST}, seal=MANIFEST, stale=owned - names, meanwhile=_as_json(unfinished)
    )


def require_own(directory: Path, files: FileSet, artifact: str | None = None) -> None:
    """Raise LlgenError when a folder holds a file that llgen did not write and will not write now."""
    require_no_file(directory)
    if not directory.exists():
        return
    own = {*_owned(directory), *files, MANIFEST, *([artifact] if artifact else [])}
    has_manifest = (directory / MANIFEST).exists()
    there = [entry.name for entry in directory.iterdir() if not is_passing(entry.name)]
    foreign = sorted(name for name in there if not has_manifest or name not in own)
    if foreign:
        raise LlgenError(
            f"'{directory}' holds '{shown(foreign[0])}', which llgen did not write",
            "choose an empty or a new folder with -o",
        )


def current_manifest(files: FileSet, directory: Path, facts: Mapping[str, Any]) -> dict[str, Any] | None:
    """The manifest of a folder, if the folder holds these files and the program, and the manifest holds `facts`.

    None when something is missing or different.
    """
    manifest = read_manifest(directory) if directory.is_dir() else None
    if manifest is None or not holds_program(directory, manifest):
        return None
    same = (
        set(manifest["files"]) == set(files)
        and all(manifest.get(key) == value for key, value in facts.items())
        and all(_holds(directory / path, content) for path, content in files.items())
    )
    return manifest if same else None


def holds_program(directory: Path, manifest: Mapping[str, Any]) -> bool:
    """Whether the program that a manifest names exists, and is the one that was linked."""
    name = manifest.get("artifact")
    if not isinstance(name, str) or Path(name).name != name or not (directory / name).is_file():
        return False
    return manifest.get("artifact_sha256") == file_sha256(directory / name)


def read_manifest(directory: Path) -> dict[str, Any] | None:
    """The manifest of a generated folder; None when there is none.

    Raises LlgenError when it is not a manifest.
    """
    path = directory / MANIFEST
    if not path.exists():
        return None
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(manifest, dict) and isinstance(manifest["files"], dict):
            return manifest
    except (ValueError, KeyError):
        pass
    raise LlgenError(f"'{path}' is not a manifest of llgen's", "choose another -o, or remove the folder yourself")


def _owned(directory: Path) -> set[str]:
    manifest = read_manifest(directory) if directory.is_dir() else None
    if manifest is None:
        return set()
    names = set(manifest["files"])
    if manifest.get("artifact"):
        names.add(manifest["artifact"])
    return {name for name in names if Path(name).name == name}


def _holds(path: Path, content: bytes) -> bool:
    return path.is_file() and path.read_bytes() == content


def _as_json(manifest: Mapping[str, Any]) -> bytes:
    return (json.dumps(manifest, indent=2) + "\n").encode()
