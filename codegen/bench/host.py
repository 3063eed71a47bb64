"""The machine at hand: what it is, and whether it is ours alone."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path

_LOOK_SECONDS = 0.3
_BUSY = 0.2


def busy() -> list[str]:
    """A line when other programs take a good part of the machine; what llgen has just done itself is not among them."""
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
    return [f"other programs take {used:.0%} of this machine's processors: spread is large, and threads wait"]


def _jiffies() -> list[int] | None:
    """What the processors have spent their time on so far, by kind (proc(5), /proc/stat); None where nobody tells."""
    try:
        first = Path("/proc/stat").read_text(encoding="ascii").splitlines()[0]
    except (OSError, IndexError):
        return None
    return [int(word) for word in first.split()[1:9]]


def machine() -> str:
    """The machine at hand, in public terms: processor, cores, system."""
    return f"{processor()}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}"


def processor() -> str:
    """Its public name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or "unknown processor"
