"""Git LFS pointers: small text files that Git LFS puts in place of files that it has not fetched yet."""

from __future__ import annotations

from pathlib import Path

from .errors import LlgenError

_BEGINNINGS = (b"version https://git-lfs.github.com/spec/", b"version https://hawser.github.com/spec/")
"""First line of a pointer. Hawser was the first name of Git LFS."""

HEAD_BYTES = max(map(len, _BEGINNINGS))
"""Bytes at the start of a file that show whether it is a pointer."""


def refuse_pointer(head: bytes, path: Path) -> None:
    """Raise LlgenError when a file that begins with the bytes `head` is a pointer; the message names `path`."""
    if head.startswith(_BEGINNINGS):
        raise LlgenError(f"'{path}' is a Git LFS pointer, not the file", "git lfs pull")


def refuse_pointer_file(path: Path) -> None:
    """Raise LlgenError when the file `path` is a pointer. A file that cannot be opened passes: its reader will fail.

    Call this, or `refuse_pointer` with the first bytes, before reading any file of a model, a tokenizer or a text.
    """
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError:
        return
    refuse_pointer(head, path)
