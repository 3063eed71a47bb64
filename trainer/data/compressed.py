"""Reads a file in pieces; unpacks it if its first bytes are those of gzip (RFC 1952) or zstd (RFC 8878)."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import IO, Protocol

import zstandard

UnpackError = (zlib.error, zstandard.ZstdError, EOFError)
"""The errors of `unpacked`, besides OSError, for data that is damaged or ends too early."""

_CHUNK_BYTES = 1 << 16
"""Size of a piece of the file; small, because a piece may unpack to a thousand times its size."""
_GZIP = 31
"""zlib's value of `wbits` for a gzip header, the largest window, and a checksum at the end."""
_MAX_WINDOW = 1 << 31
"""The largest window of zstd, which `--long=31` uses."""


class _Decoder(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, /) -> bytes: ...


def unpacked(raw: IO[bytes], told: Callable[[int], None] = lambda place: None) -> Iterator[bytes]:
    """The content of a file that is open at its start; `told` is called with the number of bytes read from the file.

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
    """Unpack frames one after another; in both formats, each frame needs a new decoder."""
    decoder: _Decoder | None = None
    for chunk in _chain(first, chunks):
        rest = chunk
        while rest:
            if decoder is None:
                rest = rest.lstrip(b"\0")  # gzip files on tapes and block devices are padded with zeros
                if not rest:
                    break
                decoder = begin()
            yield decoder.decompress(rest)
            rest = b""
            if decoder.eof:
                rest, decoder = decoder.unused_data, None
    if decoder is not None:
        raise EOFError("the packed data ends too early")
