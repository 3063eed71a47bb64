"""Reads WebAssembly: the size of code and data of an object, and the memory that a module asks for.

The binary format is in section 5.5 of the WebAssembly specification: a module is a sequence of sections, each a number,
a length and content; lengths are LEB128.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ..plan.program import PAGE_BYTES

MAGIC = b"\0asm"

_HEADER_BYTES = 8
_MEMORY, _CODE, _DATA = 5, 10, 11


def code_and_data(path: Path) -> tuple[int, int]:
    """Bytes of the code and of the data of an object or module."""
    sizes = {number: len(content) for number, content in _sections(path.read_bytes())}
    return sizes.get(_CODE, 0), sizes.get(_DATA, 0)


def module_memory(path: Path) -> int | None:
    """Bytes of memory that a module asks for at its start; None when the file is no module, or imports its memory."""
    content = path.read_bytes()
    if not content.startswith(MAGIC):
        return None
    for number, section in _sections(content):
        if number == _MEMORY:
            pages, _ = _leb128(section, 2)  # after the number of memories and the kind of the limit
            return pages * PAGE_BYTES
    return None


def _sections(content: bytes) -> Iterator[tuple[int, bytes]]:
    at = _HEADER_BYTES
    while at < len(content):
        length, begin = _leb128(content, at + 1)
        yield content[at], content[begin : begin + length]
        at = begin + length


def _leb128(content: bytes, at: int) -> tuple[int, int]:
    """An unsigned LEB128 number, and the position after it."""
    value = shift = 0
    while True:
        byte = content[at]
        value |= (byte & 0x7F) << shift
        shift += 7
        at += 1
        if byte < 0x80:
            return value, at
