"""Writing a generated folder: only what changed, and only what is llgen's own."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .errors import LlgenError
from .render import FileSet

MANIFEST = "manifest.json"


def write(files: FileSet, directory: Path, facts: Mapping[str, Any], artifact: str | None = None) -> list[str]:
    """Bring `directory` to hold exactly `files` and a manifest of them; returns the paths that were written.

    Files that an earlier manifest owns and this one does not are removed. `artifact` names the compiled program,
    which the manifest owns too. Raises LlgenError when the directory holds anything else, before writing anything.
    """
    owned = _owned(directory)
    _refuse_foreign(directory, owned | set(files) | {MANIFEST})
    directory.mkdir(parents=True, exist_ok=True)
    written = [path for path, content in sorted(files.items()) if _write_changed(directory / path, content)]
    names = set(files) | ({artifact} if artifact else set())
    for stale in sorted(owned - names):
        (directory / stale).unlink(missing_ok=True)
    manifest = {
        **facts,
        "artifact": artifact,
        "files": {path: hashlib.sha256(content).hexdigest() for path, content in sorted(files.items())},
    }
    if _write_changed(directory / MANIFEST, (json.dumps(manifest, indent=2) + "\n").encode()):
        written.append(MANIFEST)
    return written


def current_manifest(files: FileSet, directory: Path, facts: Mapping[str, Any]) -> dict[str, Any] | None:
    """The manifest of a folder that holds these files and the program it names, and says no less than `facts`.

    None when anything of that is missing or different.
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
    """Whether the program that a manifest names is there, and the one that was linked."""
    name = manifest.get("artifact")
    if not isinstance(name, str) or Path(name).name != name or not (directory / name).is_file():
        return False
    return manifest.get("artifact_sha256") == file_sha256(directory / name)


def file_sha256(path: Path) -> str:
    """The hash by which a manifest knows a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read_manifest(directory: Path) -> dict[str, Any] | None:
    """The manifest of a generated folder; None when there is none.

    Raises LlgenError when it cannot be read as one.
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


def unfinished(artifact: Path) -> Path:
    """Where a program is linked before it takes its place; a kill may leave it there."""
    return artifact.with_name(f".{artifact.name}.new")


def _owned(directory: Path) -> set[str]:
    manifest = read_manifest(directory) if directory.is_dir() else None
    if manifest is None:
        return set()
    names = set(manifest["files"])
    if manifest.get("artifact"):
        names |= {manifest["artifact"], unfinished(Path(manifest["artifact"])).name}
    return {name for name in names if Path(name).name == name}


def _refuse_foreign(directory: Path, allowed: set[str]) -> None:
    if not directory.exists():
        return
    if not directory.is_dir():
        raise LlgenError(f"'{directory}' is a file", "choose another -o")
    has_manifest = (directory / MANIFEST).exists()
    foreign = sorted(entry.name for entry in directory.iterdir() if not has_manifest or entry.name not in allowed)
    if foreign:
        raise LlgenError(
            f"'{directory}' holds '{foreign[0]}', which llgen did not write", "choose an empty or a new folder with -o"
        )


def _holds(path: Path, content: bytes) -> bool:
    return path.is_file() and path.read_bytes() == content


def _write_changed(path: Path, content: bytes) -> bool:
    if _holds(path, content):
        return False
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return True
