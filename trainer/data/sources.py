"""Reads documents from text, JSON lines, folders of both, gzip and zstd; as a stream, never as a whole.

The content of a file decides how it is read. In text, `<|endoftext|>` separates documents if it occurs in the first MiB
of the file; else blank lines do.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import Any

from llgen.errors import LlgenError
from llgen.lfs import refuse_pointer
from llgen.shown import shown

from .compressed import UnpackError, unpacked
from .json_lines import USUAL_FIELD, is_json_lines, refuse_other_json, texts

SEPARATOR = "<|endoftext|>"
EVERY_LINE = "line"
"""The separator that makes each line a document."""
BLANK_LINES = ""
"""The separator that stands for blank lines."""

_TEXT_SUFFIXES = (".txt", ".text", ".md", ".jsonl", ".ndjson")
_PACKED_SUFFIXES = (".gz", ".zst", ".zstd")
_HEAD_BYTES = 1 << 20
_BOM = b"\xef\xbb\xbf"

Told = Callable[[int], None]
"""Called repeatedly with the number of bytes read from the source so far."""


@dataclass(frozen=True)
class Source:
    """The documents of a file, or of all files of a folder in the order of their names.

    `field` names the text in JSON lines; `a.b` is the field b inside the field a. `separator` is a line that separates
    documents of text; "line" makes each line a document, and "" separates at blank lines. For a single file, `field`
    tells that it is JSON lines, and else `separator` tells that it is text. In a folder, or if `by_content` is set, the
    content of each file tells.
    """

    path: Path
    field: str | None = None
    separator: str | None = None
    by_content: bool = False

    def files(self) -> list[Path]:
        """The files, in order; raises LlgenError when there are none.

        In a folder these are the files with the suffix of a text, packed or not; hidden files are ignored.
        """
        if not self.path.is_dir():
            return [self.path]
        found = {self._name(file): file for file in self.path.rglob("*") if file.is_file()}
        names = sorted(name for name in found if _is_text_name(name))
        if not names:
            raise LlgenError(
                f"'{self.path}' holds no file whose name ends in {', '.join((*_TEXT_SUFFIXES, *_PACKED_SUFFIXES))}",
                "give another folder, or the file itself",
            )
        return [found[name] for name in names]

    def size(self) -> int:
        """Bytes of all files on disk."""
        try:
            return sum(file.stat().st_size for file in self.files())
        except OSError as error:
            raise _unreadable(self.path, error) from error

    def documents(self, told: Told = lambda read: None) -> Iterator[str]:
        """All documents, without spaces at their ends and without empty documents.

        Raises LlgenError for a file that cannot be read, is not UTF-8, or has a line that is not JSON in JSON lines.
        """
        before = 0
        for file in self.files():
            try:
                with file.open("rb") as raw:
                    yield from self._documents_of(file, unpacked(raw, _counted_from(before, told)))
                    before += raw.tell()
            except (OSError, *UnpackError) as error:
                raise _unreadable(file, error) from error

    def sample(self, size: int, told: Told = lambda read: None) -> Iterator[str]:
        """Documents from the whole source: every n-th, with n such that they take about `size` bytes on disk."""
        return islice(self.documents(told), 0, None, max(1, self.size() // size))

    @cached_property
    def description(self) -> dict[str, Any]:
        """What the documents depend on, for a manifest: names and digests of the files, field and separator.

        The first call reads all files.
        """
        return {
            "files": [_described(file, self._name(file)) for file in self.files()],
            "field": self.field,
            "separator": self.separator,
        }

    def fingerprint(self) -> str:
        """A digest of `description`."""
        return hashlib.sha256(json.dumps(self.description).encode()).hexdigest()

    def is_text(self) -> bool:
        """Whether the first non-empty file is text and not JSON lines; raises LlgenError as `documents` does."""
        for file in self.files():
            try:
                with file.open("rb") as raw:
                    head = _head(unpacked(raw, lambda place: None))
            except (OSError, *UnpackError) as error:
                raise _unreadable(file, error) from error
            if head.strip():
                return not self._is_json_lines(head.removeprefix(_BOM))
        return True

    def _name(self, file: Path) -> str:
        return file.relative_to(self.path).as_posix() if file != self.path else file.name

    def _documents_of(self, file: Path, chunks: Iterator[bytes]) -> Iterator[str]:
        head = _head(chunks)
        refuse_pointer(head, file)
        beginning = head.removeprefix(_BOM)
        lines = _decoded(_lines(chain([beginning], chunks)), file, len(head) - len(beginning))
        if self._is_json_lines(beginning):
            parts = texts(lines, file, self.field or USUAL_FIELD)
        else:
            if self.separator is None:
                refuse_other_json(beginning, file)
            parts = _split(lines, _usual_separator(beginning) if self.separator is None else self.separator.strip())
        return (part for part in map(str.strip, parts) if part)

    def _is_json_lines(self, head: bytes) -> bool:
        if self.by_content or self.path.is_dir() or (self.field is None and self.separator is None):
            return is_json_lines(head)
        return self.field is not None


def read_documents(path: Path) -> list[str]:
    """All documents of a source as a list; raises LlgenError when there are none."""
    documents = list(Source(path).documents())
    if not documents:
        raise LlgenError(f"'{path}' holds no text", "give a file with text")
    return documents


# ------------------------------------------------------------------------------------------------------------ files


def _is_text_name(name: str) -> bool:
    if any(part.startswith(".") for part in name.split("/")):
        return False  # files of editors and operating systems
    last = name.rpartition("/")[2].lower()
    for suffix in _PACKED_SUFFIXES:
        if last.endswith(suffix):
            inner = last.removesuffix(suffix)
            return inner.endswith(_TEXT_SUFFIXES) or "." not in inner  # not .tar.gz
    return last.endswith(_TEXT_SUFFIXES)


def _counted_from(before: int, told: Told) -> Told:
    return lambda place: told(before + place)


def _described(file: Path, name: str) -> dict[str, Any]:
    try:
        with file.open("rb") as raw:
            digest = hashlib.file_digest(raw, "sha256").hexdigest()
            return {"name": name, "bytes": raw.tell(), "sha256": digest}
    except OSError as error:
        raise _unreadable(file, error) from error


def _unreadable(path: Path, error: Exception) -> LlgenError:
    reason = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
    return LlgenError(f"cannot read '{path}': {shown(reason, 200)}", "give a readable file of text or JSON lines")


# ------------------------------------------------------------------------------------------------------------- text


def _head(chunks: Iterator[bytes]) -> bytes:
    held: list[bytes] = []
    size = 0
    for chunk in chunks:
        held.append(chunk)
        size += len(chunk)
        if size >= _HEAD_BYTES:
            break
    return b"".join(held)


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Divide chunks into lines, including their line breaks."""
    held: list[bytes] = []
    for chunk in chunks:
        first, *others = chunk.split(b"\n")
        held.append(first)
        for line in others:
            yield b"".join(held) + b"\n"
            held = [line]
    last = b"".join(held)
    if last:
        yield last


def _decoded(lines: Iterable[bytes], file: Path, offset: int) -> Iterator[str]:
    """Decode lines; `offset` is the position of the first line in the file, for messages."""
    for line in lines:
        try:
            text = line.decode()
        except UnicodeDecodeError as error:
            raise LlgenError(
                f"'{file}' is not UTF-8: byte 0x{line[error.start]:02X} at offset {offset + error.start}",
                "save it as UTF-8, e.g. `iconv -f LATIN1 -t UTF-8`",
            ) from error
        if "\0" in text:
            raise LlgenError(
                f"'{file}' is not text: byte 0x00 at offset {offset + line.index(0)}",
                "give text in UTF-8; for UTF-16, use `iconv -f UTF-16 -t UTF-8`",
            )
        yield text
        offset += len(line)


def _usual_separator(head: bytes) -> str:
    return SEPARATOR if SEPARATOR.encode() in head else BLANK_LINES


def _split(lines: Iterable[str], separator: str) -> Iterator[str]:
    """Divide lines into texts: at lines that are only the separator, or at `<|endoftext|>` anywhere in a line."""
    if separator == EVERY_LINE:
        yield from lines
        return
    held: list[str] = []
    for line in lines:
        if separator == SEPARATOR and SEPARATOR in line:
            ends, rest = line.split(SEPARATOR)[:-1], line.rpartition(SEPARATOR)[2]
        elif line.strip() == separator:
            ends, rest = [""], ""
        else:
            held.append(line)
            continue
        for end in ends:
            yield _joined([*held, end])
            held = []
        held = [rest]
    yield _joined(held)


def _joined(lines: list[str]) -> str:
    return "".join(lines).replace("\r\n", "\n")
