"""The RAM of the program around a model, known before it is compiled."""

from __future__ import annotations

from llgen.targets.schema import Target

from .memory import WORD_ROOM
from .sizes import round_up

PAGE_BYTES = 1 << 16
"""Bytes of a page of WebAssembly memory; memory is requested in pages."""

COMMAND_BYTES = 1024
"""Bytes for the command line on a target without an operating system."""

MODULE_STACK_BYTES = 1 << 16
"""The stack in a WebAssembly module's memory, which holds only arrays; zig's default is 1 or 16 MiB."""


def input_bytes(target: Target, context: int) -> int:
    """Bytes for a prompt from standard input: many on a host, where memory that is not used costs nothing."""
    return 1 << 20 if target.stdio == "hosted" else 8 * context + 64


def program_ram(target: Target, context: int, has_tokenizer: bool) -> int:
    """Bytes of the program's own variables, without the model's state, rounded up generously."""
    prompt = 4 * (context + WORD_ROOM) + (input_bytes(target, context) if has_tokenizer else 0)
    return prompt + COMMAND_BYTES + 1024


def module_bytes(target: Target, state: int, rodata: int, context: int, has_tokenizer: bool) -> int:
    """The memory that a WebAssembly module requests, in whole pages: all data of the program, and its stack."""
    program = program_ram(target, context, has_tokenizer) + MODULE_STACK_BYTES
    return round_up(state + rodata + program, PAGE_BYTES)
