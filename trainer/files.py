"""Files of a run: the old one or the new one, never half of either."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SUFFIX = ".new"


@contextmanager
def replacing(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """Give the path of a file or folder beside `path`, which takes its place when the block ends well.

    Its name is always the same, so that what a kill left behind makes room for the next try. `durable` has it on
    the disk before it takes the place, for files that must survive a power cut.
    """
    temporary = path.with_name(path.name + SUFFIX)
    if temporary.is_dir():  # what is in a folder is not overwritten
        shutil.rmtree(temporary)
    yield temporary
    if durable:
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
    temporary.replace(path)
