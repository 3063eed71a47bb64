"""Messages about a program that a signal ended: which signal, on which processor, and the next step."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from itertools import pairwise

from llgen.targets.schema import Target

_BY_SHELLS = 128
"""Added to a signal's number in the exit code of shells, and of emulators that pass a signal on."""

_MEANINGS = {
    "SIGILL": "an instruction that the processor does not have",
    "SIGSEGV": "an access to memory that it does not have",
    "SIGBUS": "an access to memory at an address that it cannot have",
    "SIGFPE": "a division by zero",
    "SIGABRT": "by itself",
    "SIGKILL": "the system, mostly for want of memory",
    "SIGTERM": "someone who asked it to end",
}


def death(code: int, target: Target) -> tuple[str, str | None] | None:
    """The message for a program that a signal ended, and the next step; None when `code` is not that of a signal.

    `code` is Python's returncode: the negative number of a signal, or an emulator's exit code for a signal.
    """
    number = -code if code < 0 else code - _BY_SHELLS
    try:
        name = signal.Signals(number).name
    except ValueError:
        return None
    meaning = f", {_MEANINGS[name]}" if name in _MEANINGS else ""
    return f"was ended by {name}{meaning}, {_place(target)}", _next_step(name, target)


def emulated_cpu(target: Target) -> str | None:
    """The processor after -cpu in the runner's words; None without -cpu."""
    words: Sequence[str] = target.runner.argv if target.runner else ()
    return next((value for option, value in pairwise(words) if option == "-cpu"), None)


def _emulator(target: Target) -> str | None:
    word = target.runner.argv[0] if target.runner else "{artifact}"
    return None if word.startswith("{") else word


def _place(target: Target) -> str:
    emulator, cpu = _emulator(target), emulated_cpu(target)
    if emulator is None:
        return "on this machine"
    if not emulator.startswith("qemu"):
        return f"in {emulator}"
    return f"in {emulator} with " + (f"-cpu {cpu}" if cpu else "its default processor, for runner.argv has no -cpu")


def _next_step(name: str, target: Target) -> str | None:
    if name != "SIGILL":
        return None
    emulator, cpu = _emulator(target), emulated_cpu(target)
    if emulator is None:
        return "--target host is made for this processor"
    has = f"what compiler.cpu '{target.compiler.cpu}' has" if target.compiler.cpu else "what the program needs"
    other = "another -cpu" if cpu else '"-cpu", "max"'
    return f"{other} in runner.argv, one that has {has}; `{emulator} -cpu help` lists them"
