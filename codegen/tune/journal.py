"""The measurements of an unfinished tuning, kept on disk so that the same command can continue."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


class Journal:
    """A file of JSON lines beside the output: the first line is the purpose, each other line a key and its measurement.

    A journal with another purpose is discarded, and so is a last line that is incomplete because llgen was killed.
    """

    def __init__(self, path: Path, purpose: str) -> None:
        self._path = path
        self._found: dict[str, Any] = {}
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.is_file() else []
        first = json.dumps({"purpose": purpose}) + "\n"
        whole = [line for line in lines if line.endswith("\n")]
        if whole[:1] == [first]:
            self._found = dict(json.loads(line) for line in whole[1:])
        else:
            whole = [first]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(whole), encoding="utf-8")

    def __len__(self) -> int:
        """Number of measurements."""
        return len(self._found)

    def knows(self, key: str) -> bool:
        """Whether there is a measurement for a key."""
        return key in self._found

    def recall(self, key: str) -> Any:
        """The measurement for a key; None when there is none."""
        return self._found.get(key)

    def keep(self, key: str, found: Any) -> None:
        """Store a measurement."""
        self._found[key] = found
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps([key, found]) + "\n")

    def remove(self) -> None:
        """Remove the journal of a complete tuning."""
        self._path.unlink(missing_ok=True)
