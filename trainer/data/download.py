"""Fetching a file over HTTP: in pieces, going on where an earlier try ended, and never leaving half a file in place."""

from __future__ import annotations

import hashlib
import urllib.error
import urllib.request
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path

from llgen.codegen.errors import LlgenError

_CHUNK = 1 << 20
_TIMEOUT_SECONDS = 30

Told = Callable[[int, int | None], None]
"""Called with the bytes there are and the bytes there will be, if the server tells."""


def download(url: str, path: Path, told: Told = lambda have, whole: None, *, sha256: str | None = None) -> None:
    """Fetch `url` to `path`; what an interrupted try left in `path.part` is gone on with.

    Raises LlgenError when the server cannot be reached, refuses, ends early, or sends what has another digest.
    """
    part = path.with_name(path.name + ".part")
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as response:
            if response.status != 206:
                have = 0  # the server sends it from the beginning
            length = response.headers.get("Content-Length")
            whole = have + int(length) if length else None
            with part.open("ab" if have else "wb") as file:
                while chunk := response.read(_CHUNK):
                    file.write(chunk)
                    have += len(chunk)
                    told(have, whole)
    except urllib.error.HTTPError as error:
        if error.code != 416:  # nothing is left to send: the part is the whole
            raise _failed(url, path, f"the server answers {error.code} {error.reason}") from error
    except (OSError, HTTPException) as error:
        raise _failed(url, path, str(getattr(error, "reason", error))) from error
    else:
        if whole is not None and have != whole:
            raise _failed(url, path, f"it ended after {have:,} of {whole:,} bytes; the same command goes on there")
    if sha256 is not None and _digest(part) != sha256:
        part.unlink()
        raise _failed(url, path, f"what came does not have the SHA-256 {sha256}; it was thrown away")
    part.replace(path)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _failed(url: str, path: Path, reason: str) -> LlgenError:
    return LlgenError(f"cannot download {url}: {reason}", f"download it by other means, as {path}")
