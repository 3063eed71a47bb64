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
    view = np.frombuffer(data, np.uint8)
    return [_string_row(view[start : start + row]) for start in range(0, len(view), row)]


_OCTAL_DIGITS = frozenset(b"01234567")


def _shortest_escapes() -> list[str]:
    plain = set(range(0x20, 0x7F)) - set(b'"\\?')
    return [chr(byte) if byte in plain else f"\\{byte:o}" for byte in range(256)]


_SHORT = _shortest_escapes()
_LONG = [text if len(text) == 1 else f"\\{byte:03o}" for byte, text in enumerate(_SHORT)]
_BEFORE_DIGIT = dict.fromkeys(_OCTAL_DIGITS, _LONG)


def _string_row(row: npt.NDArray[np.uint8]) -> str:
    values = row.tolist()
    following = [*values[1:], 0]
    return (
        '"'
        + "".join([_BEFORE_DIGIT.get(after, _SHORT)[byte] for byte, after in zip(values, following, strict=True)])
        + '"'
    )
