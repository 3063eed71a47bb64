"""Lists as generated C holds them: names lined up, numbers in rows, alternatives in a sentence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


class Index(int):
    """The number of a vector or position in an unrolled loop."""

    def plus(self, unit: str) -> str:
        """The end of an offset: nothing for the first, else this number times `unit`."""
        return "" if self == 0 else f" + {unit}" if self == 1 else f" + {self} * {unit}"


def indices(count: int) -> list[Index]:
    """The numbers of an unrolled loop."""
    return [Index(number) for number in range(count)]


@dataclass(frozen=True)
class Named:
    """A C constant: `padded_name` is filled with spaces so that a list of constants lines up."""

    padded_name: str
    value: str
    comment: str = ""


def aligned(rows: Iterable[tuple[str, str, str]]) -> list[Named]:
    """Names, values and comments, the names filled with spaces to one width."""
    listed = list(rows)
    width = max(len(row[0]) for row in listed)
    return [Named(name.ljust(width), value, comment) for name, value, comment in listed]


def number_rows(numbers: Sequence[int], per_row: int = 16) -> list[str]:
    """The rows of an array's initialiser."""
    rows = [numbers[start : start + per_row] for start in range(0, len(numbers), per_row)]
    return [" ".join(f"{number}," for number in row) for row in rows]


def alternatives(numbers: Sequence[int]) -> str:
    """Such as "4, 5 or 6"; an empty text for no numbers."""
    words = [str(each) for each in numbers]
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} or {words[-1]}"
