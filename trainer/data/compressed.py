"""The bytes of a file, unpacked where its first bytes say gzip (RFC 1952) or zstd (RFC 8878); a piece at a time."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import IO, Protocol

import zstandard

UnpackError = (zlib.error, zstandard.ZstdError, EOFError)
"""What `unpacked` raises, apart from OSError, for data that is damaged or ends too early."""

_CHUNK_BYTES = 1 << 16
"""Few enough that what one piece unpacks to is no burden."""
_GZIP = 31
"""zlib's word for: a gzip header, the largest window, and a check of the sum at the end."""
_MAX_WINDOW = 1 << 31
"""As far back as zstd's `--long=31` refers."""


class _Decoder(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, /) -> bytes: ...


def unpacked(raw: IO[bytes], told: Callable[[int], None] = lambda place: None) -> Iterator[bytes]:
    """The content of a file that is open at its beginning; `told` hears how much of the file itself was read.

    Raises OSError, or one of `UnpackError`.
    """
    chunks = _read(raw, told)
    first = next(chunks, b"")
    if first.startswith(b"\x1f\x8b"):
        return _unpack(first, chunks, lambda: zlib.decompressobj(wbits=_GZIP))
    if first.startswith(zstandard.FRAME_HEADER):
        return _unpack(first, chunks, zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW).decompressobj)
    return _chain(first, chunks)


def _read(raw: IO[bytes], told: Callable[[int], None]) -> Iterator[bytes]:
    while chunk := raw.read(_CHUNK_BYTES):
        told(raw.tell())
        yield chunk


def _chain(first: bytes, chunks: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from chunks


def _unpack(first: bytes, chunks: Iterator[bytes], begin: Callable[[], _Decoder]) -> Iterator[bytes]:
    """Both formats are frames one behind the other, each of which a decoder of its own takes."""
    decoder: _Decoder | None = None
    for chunk in _chain(first, chunks):
        rest = chunk
        while rest:
            if decoder is None:
                rest = rest.lstrip(b"\0")  # tapes and block devices pad gzip files with these
                if not rest:
                    break
                decoder = begin()
            yield decoder.decompress(rest)
            rest = b""
            if decoder.eof:
                rest, decoder = decoder.unused_data, None
    if decoder is not None:
        raise EOFError("the packed data ends too early")
