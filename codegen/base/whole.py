"""Writing a file, or the files of a folder, completely or not at all.

Files are written under another name or in a temporary folder, and moved to their names when everything succeeded. The
next attempt removes what a killed process left. Two processes must therefore not write the same place at the same
time: `sole_writer` sees to that.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import shutil
import tempfile
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import LlgenError

Content = bytes | Iterable[bytes]
"""The content of a file, whole or in parts, so that a large one need not be in memory."""

UNFINISHED = ".llgen.new-"
"""Beginning of the name of a temporary folder, which holds unfinished files inside of the folder that is written."""

_ROUNDS = 100
"""How often a private place is removed at most, while a compiler that outlived its llgen adds files to it."""


def unfinished_name(name: str) -> str:
    """Name of the temporary file, in the same folder, that will replace the file `name`."""
    return f".{name}.new"


@contextmanager
def replacing(path: Path, *, durable: bool = False, shared: bool = False) -> Iterator[Path]:
    """Yield a path beside `path` for a new file or folder, which replaces `path` when the block ends without an error.

    `durable` flushes the file to the disk first, so that it survives a power cut. `shared` allows other processes to
    write the same path at the same time; the last one wins.
    Raises LlgenError for an error of the system, also inside of the block; `path` is then unchanged.
    """
    mark = f"-{os.getpid()}-{threading.get_ident()}" if shared else ""
    temporary = path.with_name(unfinished_name(path.name + mark))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove(temporary)
        yield temporary
        if durable:
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        _remove(temporary)


@contextmanager
def private_place(folder: Path) -> Iterator[Path]:
    """Yield an empty temporary folder inside of `folder`, for files that `settle` will move there; removed at the end.

    Its name is new each time: a compiler that still runs after its llgen was killed may write to the old one.
    Raises LlgenError for an error of the system, also inside of the block.
    """
    place = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        clear_unfinished(folder)
        place = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=folder))
        yield place
    except OSError as error:
        raise cannot_write(folder, error) from error
    finally:
        if place is not None:
            _remove_place(place)


def clear_unfinished(folder: Path) -> None:
    """Remove the private places that killed llgens left in a folder; the caller is its sole writer."""
    for left in folder.glob(f"{UNFINISHED}*"):
        _remove_place(left)


def put(files: Mapping[str, Content], place: Path) -> None:
    """Write `files`, name to content, into a temporary folder."""
    for name, content in files.items():
        with (place / name).open("wb") as file:
            file.writelines([content] if isinstance(content, bytes) else content)


def settle(
    place: Path,
    folder: Path,
    names: Collection[str],
    *,
    seal: str,
    stale: Collection[str] = (),
    meanwhile: bytes | None = None,
) -> list[str]:
    """Move the named files from a temporary folder to the folder; returns the names of files that changed.

    `seal` names the file that says that the folder is complete. It is removed first and moved last, so that a killed
    process leaves a folder without it, or with the content `meanwhile` in its place. `stale` files are removed.
    """
    changed = sorted(name for name in names if not _same(place / name, folder / name))
    gone = [name for name in stale if (folder / name).exists()]
    if gone or set(changed) - {seal}:
        if meanwhile is not None:
            unfinished = place / unfinished_name(seal)  # in the temporary folder: a kill leaves nothing in the other
            unfinished.write_bytes(meanwhile)
            unfinished.replace(folder / seal)
        else:
            (folder / seal).unlink(missing_ok=True)
    for name in gone:
        (folder / name).unlink()
    for name in [name for name in changed if name != seal]:
        (place / name).replace(folder / name)
    if not _same(place / seal, folder / seal):
        (place / seal).replace(folder / seal)
    return changed


def cannot_write(path: Path, error: OSError) -> LlgenError:
    """The error for a failed write: the reason, the limit and the next step."""
    if error.errno == errno.ENOSPC:
        return LlgenError(
            f"cannot write '{path}': no space left, {_free(path)}", "free some space, then repeat the command"
        )
    if error.errno == errno.EDQUOT:
        return LlgenError(f"cannot write '{path}': your disk quota is used up", "free some space, or choose another -o")
    if error.errno == errno.EFBIG:
        return LlgenError(
            f"cannot write '{path}': a file may have {_largest_file()} here", "`ulimit -f` prints and sets the limit"
        )
    return LlgenError(f"cannot write '{path}': {error.strerror or error}", "choose another -o")


def is_full(error: OSError) -> bool:
    """Whether a write failed because there was no space left, or the file would be too large."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def _free(path: Path) -> str:
    existing = next(parent for parent in (path.absolute(), *path.absolute().parents) if parent.exists())
    try:
        usage = shutil.disk_usage(existing)
    except OSError:
        return "says the system"
    return f"{usage.free:,} of {usage.total:,} bytes are free"


def _largest_file() -> str:
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return "no more bytes"
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    return "no more bytes" if limit == resource.RLIM_INFINITY else f"{limit:,} bytes at most"


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file as hexadecimal digits, as manifests store it."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _same(one: Path, other: Path) -> bool:
    return other.is_file() and one.stat().st_size == other.stat().st_size and file_sha256(one) == file_sha256(other)


def _remove_place(place: Path) -> None:
    """Remove a private place, even while a compiler that outlived its llgen still writes there.

    The place gets a new name first, so that the compiler's path leads nowhere. A compiler that works within the place
    follows it; the files that it adds during one removal go with the next.
    """
    with suppress(OSError):  # Windows keeps the name of a folder whose files are open
        place = place.rename(place.with_name(f"{UNFINISHED}{secrets.token_hex(8)}"))
    for _ in range(_ROUNDS):
        _remove(place)
        if not os.path.lexists(place):
            return


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()
