"""`training.json`: how a model's training text was read, so that other texts can be read in the same way."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

RECORD = "training.json"


@dataclass(frozen=True)
class Reading:
    """How a text is divided into documents; None: decided by its content."""

    field: str | None = None
    """Of JSON lines."""
    separator: str | None = None
    """Of text."""


def pack_reading(reading: Reading) -> bytes:
    """The file's content."""
    return (json.dumps(asdict(reading), indent=2) + "\n").encode()


def read_reading(directory: Path) -> Reading | None:
    """The record in a model directory; None when there is none that can be read."""
    try:
        raw = json.loads((directory / RECORD).read_text(encoding="utf-8"))
        found = Reading(**raw)
    except (OSError, ValueError, TypeError):
        return None
    texts = (found.field, found.separator)
    return found if all(text is None or isinstance(text, str) for text in texts) else None
