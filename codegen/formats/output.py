"""Files that appear whole or not at all."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import LlgenError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give the path of a temporary file beside `path`; it takes the place of `path` when the block ends well.

    Raises LlgenError for what the system refuses, within the block too; what stood at `path` is then untouched.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # A directory, not mkstemp: that makes a file which nobody but its owner may read.
        with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as directory:
            temporary = Path(directory) / path.name
            yield temporary
            temporary.replace(path)
    except OSError as error:
        raise LlgenError(f"cannot write '{path}': {error.strerror or error}", "choose another -o") from error
