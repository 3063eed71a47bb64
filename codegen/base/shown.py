"""How messages quote text from a file: on one line, without control characters, and shortened.

The author of a file chose its tensor names, metadata, pieces and whatever a parser quotes. Printed unchanged, they
could move the cursor, colour the terminal or fill it. Each goes through `shown` or `shown_value` first.
"""

from __future__ import annotations

import reprlib
from collections.abc import Collection
from itertools import islice

LONGEST = 80
"""Characters of one text in a message."""

_MOST_LISTED = 6


def shown(text: str, longest: int = LONGEST) -> str:
    """Quote text of a file. Characters that a terminal would not print are escaped as in Python. Of a text longer
    than `longest` characters, the beginning is shown, and the length.

    >>> shown("two\\nlines, \\x1b[31m, a \\\\ and ü")
    'two\\\\nlines, \\\\x1b[31m, a \\\\\\\\ and ü'
    >>> shown("a" * 100, 8)
    'aaaaaaaa… (100 characters)'
    """
    escaped = "".join(map(_escape, text[: longest + 1]))
    if len(text) <= longest and len(escaped) <= 2 * longest:
        return escaped
    return f"{escaped[:longest]}… ({len(text):,} characters)"


def shown_value(value: object, longest: int = LONGEST) -> str:
    """Quote a value of a file, such as a JSON value, in Python's notation. Long texts, long lists and deep nesting
    are shortened.

    >>> shown_value([1, "a\\n"])
    "[1, 'a\\\\n']"
    """
    if isinstance(value, str):
        return f"'{shown(value, longest)}'"
    text = _Abridged().repr(value)
    return text if len(text) <= longest else f"{text[:longest]}…"


def shown_list(texts: Collection[str]) -> str:
    """Quote texts of a file, separated by commas; of more than six, the first six and the number.

    >>> shown_list(["a", "b"])
    'a, b'
    >>> shown_list([str(i) for i in range(9)])
    '0, 1, 2, 3, 4, 5, … (9 in all)'
    """
    listed = ", ".join(shown(text, LONGEST // 2) for text in islice(texts, _MOST_LISTED))
    return listed if len(texts) <= _MOST_LISTED else f"{listed}, … ({len(texts):,} in all)"


def shown_error(error: Exception) -> str:
    """The message of a parser or another library, which may quote a file: one line of limited length."""
    return shown(" ".join(str(error).split()), 2 * LONGEST)


def printable(text: str) -> str:
    """Escape the control characters of a whole message, except line breaks and tabs.

    Every message passes through it right before it is printed, because it may hold names from the user, such as a
    path. It shortens nothing.
    """
    return "".join(char if char in "\n\t" or char.isprintable() else _escape(char) for char in text)


def _escape(char: str) -> str:
    if char == "\\":
        return "\\\\"
    return char if char.isprintable() else char.encode("unicode_escape", "surrogatepass").decode("ascii")


class _Abridged(reprlib.Repr):
    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxstring, self.maxother, self.maxlong = 3, LONGEST, LONGEST, LONGEST

    def repr_str(self, x: str, level: int) -> str:
        return f"'{shown(x, LONGEST // 2)}'"
