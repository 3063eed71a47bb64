"""Numbers and bytes as C literals; the only way by which either enters generated C."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from llgen.errors import LlgenError


def float32(value: float) -> str:
    """The shortest C literal that reads back as the same float32.

    Raises LlgenError when the value is not finite as a float32.
    """
    with np.errstate(over="ignore"):
        single = np.float32(value)
    if not math.isfinite(single):
        raise LlgenError(f"{value!r} has no float32 literal in C")
    text = f"{single:.9g}"
    for digits in range(1, 9):
        shorter = f"{single:.{digits}g}"
        with np.errstate(over="ignore"):  # next to the largest number, fewer digits may round beyond it
            same = np.float32(shorter) == single
        if same:
            text = shorter
            break
    if not any(mark in text for mark in ".en"):
        text += ".0"
    return text + "f"


def string_rows(data: bytes, row: int = 64) -> list[str]:
    """Bytes as rows of adjacent C string literals, `row` bytes each: the cheapest array initialiser to compile.

    Printable characters stand for themselves; the others, and what could begin a trigraph, are octal escapes, of
    three digits where a digit follows.
    """
    return string_lines(data, row).decode("ascii").splitlines()


def string_lines(data: bytes, row: int) -> bytes:
    """The same as text, every row with its line's end: for megabytes, which NumPy spells out at once."""
    view = np.frombuffer(data, np.uint8)
    whole = len(view) - len(view) % row
    rows, rest = view[:whole].reshape(-1, row), view[np.newaxis, whole:]
    parts = [_spell(rows[start : start + _PIECE]) for start in range(0, len(rows), _PIECE)]
    return b"".join([*parts, *([_spell(rest)] if rest.size else [])])


_PIECE = 4096
"""Rows that are spelt out together; more would only take more memory."""


def _spellings() -> npt.NDArray[np.uint32]:
    """What stands for each byte, [followed by a digit or not][byte]: up to four characters, the first one lowest."""
    plain = set(range(0x20, 0x7F)) - set(b'"\\?')
    texts = [
        chr(byte) if byte in plain else f"\\{byte:03o}" if digit_follows else f"\\{byte:o}"
        for digit_follows in (False, True)
        for byte in range(256)
    ]
    return np.array([int.from_bytes(text.encode(), "little") for text in texts], np.uint32)


_SPELLINGS = _spellings()
_OPENS = int.from_bytes(b'"', "little")
_CLOSES = int.from_bytes(b'"\n', "little")


def _spell(rows: npt.NDArray[np.uint8]) -> bytes:
    """Bytes [rows][bytes of a row] as lines of literals; a character that is not there is a zero until the end."""
    digit_follows = np.zeros(rows.shape, bool)
    digit_follows[:, :-1] = (rows[:, 1:] >= ord("0")) & (rows[:, 1:] <= ord("7"))
    cells = np.empty((rows.shape[0], rows.shape[1] + 2), "<u4")
    cells[:, 0] = _OPENS
    cells[:, 1:-1] = _SPELLINGS[rows + np.where(digit_follows, np.uint16(256), np.uint16(0))]
    cells[:, -1] = _CLOSES
    characters = cells.view(np.uint8)
    spelt: bytes = characters[characters != 0].tobytes()
    return spelt
