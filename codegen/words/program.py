"""The box of the program around a model: its input, its clock, and the kind of machine that it runs on."""

from __future__ import annotations

from dataclasses import dataclass

from ..plan.program import input_bytes
from .decisions import Decisions


@dataclass(frozen=True)
class Program:
    """What main.c and its port must know."""

    input_bytes: int
    """Room for a prompt that comes through standard input."""
    ticks_a_second: int
    """Ticks of the program's clock in a second: nanoseconds where there is an operating system."""
    module: bool
    """The program is a WebAssembly module."""
    firmware: bool
    """The program runs without an operating system."""


def program(decided: Decisions) -> Program:
    """Fill the box."""
    target = decided.target
    return Program(
        input_bytes=input_bytes(target, decided.model.context),
        ticks_a_second=target.firmware.clock_hz if target.firmware else 10**9,
        module=target.is_module,
        firmware=target.firmware is not None,
    )
