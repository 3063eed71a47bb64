"""The key of a cached result: a hash of its inputs, and of llgen itself."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

from .. import __version__


def key_of(*parts: str) -> str:
    """A hash of the given inputs, and of llgen's code, templates and targets."""
    digest = hashlib.sha256(_fingerprint().encode())
    for part in parts:
        digest.update(part.encode() + b"\0")
    return digest.hexdigest()


@cache
def _fingerprint() -> str:
    digest = hashlib.sha256(__version__.encode())
    for package in ("llgen.codegen", "llgen.templates", "llgen.targets"):
        for entry in _walk(files(package)):
            digest.update(entry.name.encode() + b"\0" + entry.read_bytes())
    return digest.hexdigest()


def _walk(folder: Traversable) -> list[Traversable]:
    found: list[Traversable] = []
    for entry in sorted(folder.iterdir(), key=lambda item: item.name):
        if entry.is_dir():
            found += _walk(entry) if entry.name != "__pycache__" else []
        elif not entry.name.endswith(".pyc"):
            found.append(entry)
    return found
