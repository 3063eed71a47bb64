"""Reads the digest that a device prints over a serial line, to compare it with the reference."""

from __future__ import annotations

import os
import re
import time
from importlib.util import find_spec

from llgen.errors import LlgenError
from llgen.shown import shown_value

_LINE = re.compile(r"^digest ([0-9a-f]{8})\s*$")


def read_digest(port: str, baud: int, seconds: float) -> str:
    """Listen on a serial port until a line `digest XXXXXXXX` comes; returns its eight digits.

    Raises LlgenError when pyserial or the port is missing, or the line does not come in time.
    """
    if find_spec("serial") is None:
        raise LlgenError("reading a serial port needs pyserial, which is not installed", "pip install pyserial")
    import serial

    try:
        connection = serial.serial_for_url(port, baudrate=baud, timeout=0.2)
    except (serial.SerialException, ValueError, OSError) as error:
        errno = getattr(error, "errno", None)
        reason = os.strerror(errno) if errno else str(error)
        raise LlgenError(f"cannot open the serial port '{port}': {reason}", "--serial names another") from error
    seen = b""
    with connection:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            seen += connection.read(256)
            for line in seen.decode("ascii", errors="replace").splitlines(keepends=True):
                found = _LINE.match(line)
                if found and line.endswith("\n"):
                    return found[1]
    said = seen[-200:].decode("ascii", errors="replace").strip()
    raise LlgenError(
        f"no digest came from '{port}' within {seconds:g} seconds" + (f", only: {shown_value(said)}" if said else ""),
        "reset the device while llgen listens, or check --baud",
    )


def normal_digest(text: str) -> str:
    """A digest as a person types it, in eight lower-case hexadecimal digits.

    Raises LlgenError for anything else.
    """
    digits = text.strip().lower().removeprefix("0x")
    if not re.fullmatch(r"[0-9a-f]{8}", digits):
        raise LlgenError(f"'{text}' is no digest; it has eight hexadecimal digits, like 384eba0c")
    return digits
