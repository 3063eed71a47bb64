"""What has been measured, kept until the tuning is complete: the same command goes on where the last one stopped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


class Journal:
    """Lines of JSON beside the output: what the measurements are of, then a key and what was found for it each.

    A journal of something else, and what a kill has cut off, is dropped.
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
        """How much has been measured."""
        return len(self._found)

    def knows(self, key: str) -> bool:
        """Whether something was found."""
        return key in self._found

    def recall(self, key: str) -> Any:
        """What was found, None when nothing was."""
        return self._found.get(key)

    def keep(self, key: str, found: Any) -> None:
        """Write down what was found."""
        self._found[key] = found
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps([key, found]) + "\n")

    def remove(self) -> None:
        """All is done."""
        self._path.unlink(missing_ok=True)
