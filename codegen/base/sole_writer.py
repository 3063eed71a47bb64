"""Locks, so that only one llgen process writes to a folder or a file at a time; the others wait.

The lock of a folder is a file in that folder. It is therefore the same lock for every path, link, user, container or
machine that reaches the folder, and needs no other permission than writing there. The owner removes the file at the
end. When a process dies, the system releases the lock; the file stays, and does not block the next owner.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from .errors import UsageError
from .notices import notice
from .shown import shown
from .whole import UNFINISHED, cannot_write

LOCK = ".llgen.lock"
"""The lock of the folder that it lies in."""

_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP)
_PATIENCE = 1000
"""Attempts to lock a folder that another process removes between its creation and the lock."""
_held = threading.local()
"""`paths`: the resolved paths of the locks that this thread holds."""


def is_passing(name: str) -> bool:
    """Whether a file of this name exists only while llgen writes a folder, or after llgen was killed there."""
    return name == LOCK or name.startswith(UNFINISHED)


def holds_passing(folder: Path) -> bool:
    """Whether an llgen writes a folder now, or was killed while it wrote it."""
    return any(is_passing(entry.name) for entry in folder.iterdir())


def require_no_file(folder: Path) -> None:
    """Raise UsageError when `folder`, which is to be written as a folder, is a file."""
    try:
        mode = folder.stat().st_mode  # one look, for another llgen may remove the folder at any time
    except OSError:
        return
    if not stat.S_ISDIR(mode):
        raise UsageError(f"'{folder}' exists and is a file", "choose another -o")


@contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Be the only llgen process that writes to a folder. A missing folder is made, and removed if it stays empty.

    A process that waits says so with a notice. A thread that holds the lock may take it again.
    Raises UsageError when the folder is a file, LlgenError when it cannot be written.
    """
    require_no_file(folder)
    made = _missing(folder.absolute())
    try:
        with _locked(folder, LOCK, folder):
            yield
    finally:
        with suppress(OSError):  # the first that is not empty ends it
            for parent in made:
                parent.rmdir()


@contextmanager
def sole_writer_of_file(path: Path) -> Iterator[None]:
    """As `sole_writer`, for one file and its temporary files beside it."""
    place = path.resolve()  # of a link, the file that it leads to
    with _locked(place.parent, f".{place.name}.lock", path):
        yield


@contextmanager
def _locked(folder: Path, name: str, what: Path) -> Iterator[None]:
    holds = _held.__dict__.setdefault("paths", set())
    path = folder.resolve() / name
    if path in holds:
        yield
        return
    lock = _acquired(path, what)
    holds.add(path)
    try:
        yield
    finally:
        holds.discard(path)
        if lock is not None:
            with suppress(OSError):
                path.unlink()  # while it is held: a waiting process finds the file gone, and starts again
            lock.release()  # closes the file; does not remove the name, which the next owner may already use


def _acquired(path: Path, what: Path) -> FileLock | None:
    """Wait for the lock and take it; None where the file system has no locks."""
    waits, vanished = False, 0
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(path)
            lock.acquire(timeout=-1 if waits else 0)
            with suppress(OSError):  # the text is for people only
                path.write_text(_myself(), encoding="utf-8")
            return lock
        except Timeout:
            waits = True
            notice(f"waiting for {_owner(path)}, which writes to '{what}'")
        except (OSError, NotImplementedError) as error:
            if _has_vanished(path.parent, error) and vanished < _PATIENCE:
                vanished += 1  # another process removed the folder, which was empty
                continue
            if isinstance(error, OSError) and error.errno not in _NO_LOCKS:
                raise cannot_write(what, error) from error
            notice(f"the file system of '{what}' has no locks: do not let another llgen write there")
            return None


def _has_vanished(folder: Path, error: Exception) -> bool:
    """Whether a folder was removed between two looks at it: mkdir says that it exists, where it does no longer."""
    return isinstance(error, FileNotFoundError) or (isinstance(error, FileExistsError) and not folder.is_file())


def _myself() -> str:
    words = [Path(sys.argv[0]).name, *sys.argv[1:2]] if sys.argv else ["llgen"]
    return f"`{' '.join(words)}`, process {os.getpid()}\n"


def _owner(path: Path) -> str:
    """The owner of the lock, read from the file; "another llgen" while the file does not name it."""
    try:
        said = path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        said = ""
    return shown(said, 200) or "another llgen"


def _missing(folder: Path) -> list[Path]:
    """The missing folders among `folder` and its parents, the innermost first."""
    return [parent for parent in (folder, *folder.parents) if not parent.exists()]
