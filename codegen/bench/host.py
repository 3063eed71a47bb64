"""This machine: its description, and whether other programs use it."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path

_LOOK_SECONDS = 0.3
_BUSY = 0.2


def busy() -> list[str]:
    """A line for the user when other programs use a large part of the machine; to be called while llgen is idle."""
    before = _jiffies()
    time.sleep(_LOOK_SECONDS)
    after = _jiffies()
    if before is None or after is None:
        return []
    total = sum(after) - sum(before)
    idle = (after[3] - before[3]) + (after[4] - before[4])
    used = 1.0 - idle / total if total > 0 else 0.0
    if used < _BUSY:
        return []
    return [f"other programs use {used:.0%} of this machine's processors: spread is large, and threads wait"]


def _jiffies() -> list[int] | None:
    """Time that the processors have spent in each state (proc(5), /proc/stat); None when unknown."""
    try:
        first = Path("/proc/stat").read_text(encoding="ascii").splitlines()[0]
    except (OSError, IndexError):
        return None
    return [int(word) for word in first.split()[1:9]]


def machine() -> str:
    """Description of this machine: processor, number of cores, operating system."""
    return f"{processor()}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}"


def processor() -> str:
    """Name of this machine's processor, as its vendor calls it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or "unknown processor"
