"""What an engine is: a command that does a piece of work some times over, and says how long each time took.

Each run is a process of its own, so that no engine's threads, caches or allocator stand in another's way. Starting,
loading and a first time that is thrown away are not part of what is measured.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from ..errors import LlgenError

Kind = Literal["decode", "prefill"]
"""One position after the other, each token chosen from the logits before; or a prompt whose last logits alone count."""


@dataclass(frozen=True)
class Work:
    """What is measured: so many positions, the first of a conversation."""

    kind: Kind
    positions: int


@dataclass(frozen=True)
class Engine:
    """A way to do some work."""

    name: str
    """llgen, yardstick, llama.cpp, torch or limit."""
    scheme: str
    """The weights' numbers, by the engine's own name for them."""
    threads: int
    work: Work
    command: Callable[[int], Sequence[str]]
    """The words that do the work as many times as asked, and print `seconds S` on a line for each."""
    target: str | None = None
    """llgen's: what the C was made for."""
    kv: str | None = None
    """llgen's: the numbers of keys and values."""
    isa: str | None = None
    """The vector instructions that it was compiled for, where that is known."""
    tuning: str | None = None
    """llgen's: the file of its tuning, None for the usual sizes."""

    @property
    def title(self) -> str:
        """Its name for a person."""
        return f"{self.name} with {self.tuning}" if self.tuning else self.name

    @property
    def label(self) -> str:
        """For a person, while it runs."""
        return f"{self.title} {self.scheme} {self.work.kind}, {self.threads} thread{'s' if self.threads > 1 else ''}"


def measure(engine: Engine, repeats: int) -> float:
    """Tokens a second over `repeats` times in one process, after one that warms it up.

    Not of the fastest time: on a busy machine short work is left alone now and then, and long work never.
    Raises LlgenError with the engine's words when it fails.
    """
    # What else would make threads of its own keeps to the number that is measured.
    environment = {**os.environ, "OMP_NUM_THREADS": str(engine.threads), "MKL_NUM_THREADS": str(engine.threads)}
    words = [*engine.command(repeats + 1)]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, env=environment, check=False)
    said = (done.stdout + done.stderr).decode("utf-8", errors="replace")
    seconds = [float(found) for found in re.findall(r"^seconds (\d+\.\d+)\s*$", said, re.MULTILINE)]
    if done.returncode != 0 or len(seconds) != repeats + 1:
        raise LlgenError(f"{engine.name} failed at {engine.label}: {' '.join(words)}\n{said.strip()[-500:]}")
    return repeats * engine.work.positions / max(sum(seconds[1:]), 1e-9)
