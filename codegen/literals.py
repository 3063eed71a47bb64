"""Numbers and bytes as C literals; the only way by which either enters generated C."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from .errors import LlgenError

# C's keywords, C++'s, for headers are read by both, names that compilers predefine or call, and our own files'.
_KEYWORDS_TEXT = """
    alignas alignof and and_eq asm auto bitand bitor bool break case catch char class compl concept const consteval
    constexpr constinit const_cast continue co_await co_return co_yield decltype default delete do double dynamic_cast
    else enum explicit export extern false float for friend goto if inline int long main mutable namespace new noexcept
    not not_eq nullptr operator or or_eq private protected public register reinterpret_cast requires restrict return
    short signed sizeof static static_assert static_cast struct switch template this thread_local throw true try typedef
    typeof typeid typename union unsigned using virtual void volatile wchar_t while xor xor_eq
    arm i386 linux mips unix
    firmware memory port startup
    memcmp memcpy memmove memset strlen
"""
_KEYWORDS = frozenset(_KEYWORDS_TEXT.split())

_MAX_PREFIX = 31


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


def prefix(name: str) -> str:
    """A model's name as the prefix of its C identifiers: lower case, other characters as underscores.

    Raises LlgenError when what remains is no identifier, a keyword, or longer than 31 characters.
    """
    text = "".join(char if char.isascii() and char.isalnum() else "_" for char in name).lower()
    if not text or not text[0].isalpha() or len(text) > _MAX_PREFIX or text in _KEYWORDS:
        raise LlgenError(
            f"'{name}' gives no C identifier: it must begin with a letter, be no keyword, and have 1 to {_MAX_PREFIX} "
            "characters",
            "--name chooses another",
        )
    return text


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
