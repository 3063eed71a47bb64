"""LlgenError, the one exception for failures that a user can mend, and the exit codes of the command."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from enum import IntEnum

from .shown import shown

Fact = str | int | float | bool | list[str] | None
"""A value in an error that a program can read besides the message; JSON can hold it."""


class ExitCode(IntEnum):
    """Exit codes of the command; part of the command line's contract."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    DOES_NOT_FIT = 3
    PARITY_FAILED = 4
    INTERRUPTED = 130
    """By Ctrl-C or SIGTERM. Shells use 128 + the signal's number, here that of Ctrl-C."""


class LlgenError(Exception):
    """A failure the user can act on: what is wrong with which value, and the next step.

    `message` names the value and the limit it breaks; `hint`, when given, is the next step.
    Each is one line, printed without a traceback. `facts` holds the same numbers and names for programs; `--json`
    prints them.
    """

    def __init__(
        self,
        message: str,
        hint: str | None = None,
        exit_code: ExitCode = ExitCode.FAILED,
        facts: Mapping[str, Fact] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.exit_code = exit_code
        self.facts: Mapping[str, Fact] = facts or {}


class UsageError(LlgenError):
    """The command line asked for something that does not exist or does not combine."""

    def __init__(self, message: str, hint: str | None = None, facts: Mapping[str, Fact] | None = None) -> None:
        super().__init__(message, hint, ExitCode.USAGE, facts)


_CLOSEST = 3
"""Names that a message suggests at most."""

_LONGEST_NAME = 100
"""Characters of a mistyped name that are compared."""


def closest(word: str, known: Iterable[str]) -> list[str]:
    """At most three known names that are most like a mistyped one, the likeliest first.

    Upper and lower case count as equal, and so do dashes and underscores.
    """
    names = {name.lower().replace("-", "_"): name for name in known}
    plain = word[:_LONGEST_NAME].lower().replace("-", "_")
    holding = [name for name in names if len(plain) > 1 and plain in name]
    found = dict.fromkeys([*difflib.get_close_matches(plain, names, _CLOSEST), *holding])
    return [names[name] for name in found][:_CLOSEST]


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of a message about a mistyped name: similar known names, or an empty text."""
    found = [f"'{name}'" for name in closest(word, known)]
    return f"; did you mean {' or '.join(found)}?" if found else ""


def unknown_name(what: str, word: str, known: Iterable[str], hint: str | None = None) -> UsageError:
    """The error for a name that does not exist. It suggests similar names; the default hint lists all names."""
    names = list(known)
    return UsageError(
        f"there is no {what} '{shown(word)}'{did_you_mean(word, names)}",
        hint or f"one of {', '.join(names)}",
        {"value": word, "did_you_mean": closest(word, names), "known": names},
    )
