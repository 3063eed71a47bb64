"""Where documents come from: text, JSON lines, folders of both, gzip and zstd; read as a stream, never as a whole.

A file is known by its content. In text, a line `<|endoftext|>` parts two documents where one stands within the first
MiB of a file; otherwise blank lines do.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import zstandard

from llgen.codegen.errors import LlgenError

SEPARATOR = "<|endoftext|>"
EVERY_LINE = "line"
"""The separator that makes each line a document."""
_SUFFIXES = (".txt", ".text", ".md", ".jsonl", ".ndjson", ".gz", ".zst", ".zstd")
"""What a folder's files are taken by; a file that is named itself may be called as it likes."""
_HEAD_BYTES = 1 << 20
_FINGERPRINT_BYTES = 1 << 20

Told = Callable[[int], None]
"""Called with the bytes of the source that were read so far."""


@dataclass(frozen=True)
class Source:
    """A file, or all files of a folder in the order of their names, as documents.

    `field` names the text in JSON lines, `a.b` being b within a; `separator` is a line that parts two documents of
    text, or "line": each line is one.
    """

    path: Path
    field: str | None = None
    separator: str | None = None

    def files(self) -> list[Path]:
        """The files, in order; raises LlgenError when there is none."""
        if not self.path.is_dir():
            return [self.path]
        found = sorted(file for file in self.path.rglob("*") if file.is_file() and file.name.endswith(_SUFFIXES))
        if not found:
            raise LlgenError(f"'{self.path}' holds no file that ends in {', '.join(_SUFFIXES)}", "give another folder")
        return found

    def size(self) -> int:
        """Bytes of all files as they lie on disk."""
        try:
            return sum(file.stat().st_size for file in self.files())
        except OSError as error:
            raise _unreadable(self.path, error) from error

    def documents(self, told: Told = lambda read: None) -> Iterator[str]:
        """All documents without blanks around them; empty ones are left out.

        Raises LlgenError for a file that cannot be read, is not UTF-8 or not the JSON it began as.
        """
        before = 0
        for file in self.files():
            try:
                with file.open("rb") as raw:

                    def count(raw: IO[bytes] = raw, before: int = before) -> None:
                        told(before + raw.tell())

                    for document in self._documents_of(file, raw):
                        yield document
                        count()
                    before += raw.seek(0, 2)
            except (OSError, EOFError, zstandard.ZstdError) as error:
                raise _unreadable(file, error) from error

    def fingerprint(self) -> str:
        """Changes when files, their names, or how they are read change.

        Of a file larger than 2 MiB the size, the first MiB and the last are looked at.
        """
        digest = hashlib.blake2b(f"{self.field}\0{self.separator}\0".encode(), digest_size=16)
        for file in self.files():
            try:
                size = file.stat().st_size
                digest.update(f"{file.name}\0{size}\0".encode())
                with file.open("rb") as raw:
                    digest.update(raw.read(_FINGERPRINT_BYTES))
                    if size > _FINGERPRINT_BYTES:
                        raw.seek(max(_FINGERPRINT_BYTES, size - _FINGERPRINT_BYTES))
                        digest.update(raw.read())
            except OSError as error:
                raise _unreadable(file, error) from error
        return digest.hexdigest()

    def _documents_of(self, file: Path, raw: IO[bytes]) -> Iterator[str]:
        stream = _decompressed(raw)
        head = stream.read(_HEAD_BYTES)
        lines = _lines(head, stream)
        if self.field is not None or _is_json_line(head):
            parts = _json_texts(lines, file, self.field)
        else:
            parts = _split(_decoded(lines, file), self.separator or _usual_separator(head))
        return (part for part in map(str.strip, parts) if part)


def read_documents(path: Path) -> list[str]:
    """All documents of a source at once; raises LlgenError when there is none."""
    documents = list(Source(path).documents())
    if not documents:
        raise LlgenError(f"'{path}' holds no text", "give a file that holds some")
    return documents


def _unreadable(path: Path, error: Exception) -> LlgenError:
    reason = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
    return LlgenError(f"cannot read '{path}': {reason}", "give a readable file of text or JSON lines")


def _decompressed(raw: IO[bytes]) -> IO[bytes]:
    magic = raw.read(4)
    raw.seek(0)
    if magic.startswith(b"\x1f\x8b"):
        return gzip.open(raw)  # type: ignore[return-value]
    if magic == b"\x28\xb5\x2f\xfd":
        stream: IO[bytes] = zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True)
        return stream
    return raw


def _lines(head: bytes, stream: IO[bytes]) -> Iterator[bytes]:
    """Lines with their ends, of what was read already and what follows."""
    rest = head
    while True:
        *whole, rest = rest.splitlines(keepends=True) if rest else [b""]
        if rest.endswith(b"\n"):
            whole, rest = [*whole, rest], b""
        yield from whole
        chunk = stream.read(_HEAD_BYTES)
        if not chunk:
            break
        rest += chunk
    if rest:
        yield rest


def _decoded(lines: Iterable[bytes], file: Path) -> Iterator[str]:
    offset = 0
    for line in lines:
        try:
            yield line.decode("utf-8-sig" if offset == 0 else "utf-8")
        except UnicodeDecodeError as error:
            raise LlgenError(
                f"'{file}' is not UTF-8: byte 0x{line[error.start]:02X} at offset {offset + error.start}",
                "save it as UTF-8, e.g. `iconv -f LATIN1 -t UTF-8`",
            ) from error
        offset += len(line)


def _usual_separator(head: bytes) -> str:
    marked = any(line.strip() == SEPARATOR.encode() for line in head.splitlines())
    return SEPARATOR if marked else ""


def _split(lines: Iterable[str], separator: str) -> Iterator[str]:
    """Texts between lines that hold the separator alone; "" stands for blank lines."""
    if separator == EVERY_LINE:
        yield from lines
        return
    held: list[str] = []
    for line in lines:
        if line.strip() == separator:
            yield "".join(held)
            held = []
        else:
            held.append(line.replace("\r\n", "\n"))
    yield "".join(held)


# ------------------------------------------------------------------------------------------------------ JSON lines


def _is_json_line(head: bytes) -> bool:
    first = head.lstrip().partition(b"\n")[0]
    if not first.startswith(b"{"):
        return False
    try:
        return isinstance(json.loads(first), dict)
    except ValueError:
        return False


def _json_texts(lines: Iterable[bytes], file: Path, field: str | None) -> Iterator[str]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"'{file}', line {number}"
        try:
            record = json.loads(line)
        except ValueError as error:
            raise LlgenError(f"{where} is not JSON: {error}", "one object a line") from error
        yield _text_of(record, field or "text", where)


def _text_of(record: Any, field: str, where: str) -> str:
    value = record
    for key in field.split("."):
        if not isinstance(value, dict) or key not in value:
            there = ", ".join(map(str, value)) if isinstance(value, dict) else "no object"
            raise LlgenError(
                f"{where} has no field '{field}'; there is: {there}", "--field NAME, or a.b for b within a"
            )
        value = value[key]
    if not isinstance(value, str):
        raise LlgenError(f"{where}: the field '{field}' holds {type(value).__name__}, not text", "--field NAME")
    return value
