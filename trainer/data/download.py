"""Downloads a file over HTTP in pieces; continues an earlier download, and shows the file only when it is complete."""

from __future__ import annotations

import hashlib
import urllib.error
import urllib.request
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path

from llgen.errors import LlgenError
from llgen.whole import cannot_write, is_full

_CHUNK = 1 << 20
_TIMEOUT_SECONDS = 30

Told = Callable[[int, int | None], None]
"""Called with the bytes received so far, and the size of the file if the server tells it."""


def download(url: str, path: Path, told: Told = lambda have, whole: None, *, sha256: str | None = None) -> None:
    """Download `url` to `path`; a `path.part` that an interrupted download left is continued.

    Raises LlgenError when the server cannot be reached, refuses or stops early, or when the file has another SHA-256.
    """
    part = path.with_name(path.name + ".part")
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as response:
            if response.status != 206:
                have = 0  # the server sends the whole file
            length = response.headers.get("Content-Length")
            whole = have + int(length) if length else None
            with part.open("ab" if have else "wb") as file:
                while chunk := response.read(_CHUNK):
                    file.write(chunk)
                    have += len(chunk)
                    told(have, whole)
    except urllib.error.HTTPError as error:
        if error.code != 416:  # nothing is left to send: the part is complete
            raise _failed(url, path, f"the server answers {error.code} {error.reason}") from error
    except (OSError, HTTPException) as error:
        if isinstance(error, OSError) and is_full(error):
            raise cannot_write(part, error) from error
        raise _failed(url, path, str(getattr(error, "reason", error))) from error
    else:
        if whole is not None and have != whole:
            raise _failed(url, path, f"it stopped after {have:,} of {whole:,} bytes; the same command continues there")
    if sha256 is not None and _digest(part) != sha256:
        part.unlink()
        raise _failed(url, path, f"the received file does not have the SHA-256 {sha256}; it was deleted")
    part.replace(path)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _failed(url: str, path: Path, reason: str) -> LlgenError:
    return LlgenError(f"cannot download {url}: {reason}", f"download it with another program, to {path}")
