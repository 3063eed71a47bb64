"""The one exception that llgen raises for what a user can mend, and the exit codes it stands for."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What the process returns; part of the command line's contract."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    DOES_NOT_FIT = 3
    PARITY_FAILED = 4
    INTERRUPTED = 130
    """By Ctrl-C or SIGTERM; as shells have it, 128 and the number of the signal."""


class LlgenError(Exception):
    """A failure the user can act on: what is wrong with which value, and the next step.

    `message` names the value and the limit it breaks; `hint`, when given, is the next step.
    Both are one line each, printed without a traceback.
    """

    def __init__(self, message: str, hint: str | None = None, exit_code: ExitCode = ExitCode.FAILED) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.exit_code = exit_code


class UsageError(LlgenError):
    """The command line asked for something that does not exist or does not combine."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message, hint, ExitCode.USAGE)
