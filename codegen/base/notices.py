"""Notices: warnings about an input that llgen can read, such as a left-over file in a model directory.

To add a notice, call `notice` where the fact is found. Its text is one line that says what was found and what llgen
does about it. Text from a file goes through shown.py first. The command line prints each notice once, on standard
error. A program that uses llgen as a library collects notices with `gathered`, or handles the warnings of Python's
logger "llgen"; without a handler, logging prints them on standard error.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_LOGGER = logging.getLogger("llgen")


def notice(text: str) -> None:
    """Warn about an input. `text` is one line: a whole sentence without the full stop."""
    _LOGGER.warning("%s", text)


@contextmanager
def told_to(listener: Callable[[str], None]) -> Iterator[None]:
    """Call `listener` with every notice inside the `with` block, each text once.

    Listeners of outer blocks are called, too. Handlers that a program added to Python's root logger are not.
    """
    handler = _Once(listener)
    spread, _LOGGER.propagate = _LOGGER.propagate, False
    _LOGGER.addHandler(handler)
    try:
        yield
    finally:
        _LOGGER.removeHandler(handler)
        _LOGGER.propagate = spread


@contextmanager
def gathered() -> Iterator[list[str]]:
    """Collect every notice inside the `with` block, each text once, in a list that grows.

    >>> with gathered() as said:
    ...     notice("the index is left over")
    >>> said
    ['the index is left over']
    """
    said: list[str] = []
    with told_to(said.append):
        yield said


class _Once(logging.Handler):
    def __init__(self, listener: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._listener = listener
        self._said: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if text not in self._said:
            self._said.add(text)
            self._listener(text)
