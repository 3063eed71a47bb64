"""An engine: a command that repeats a piece of work and prints how long each repeat took.

Each run is a separate process, so that the threads, caches and allocator of one engine do not disturb another engine.
The measurement leaves out the start of the process, the loading of the model, and a first repeat, which warms up.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from llgen.errors import LlgenError

Kind = Literal["decode", "prefill"]
"""decode: one position after another; each token is chosen from the previous logits. prefill: evaluate a prompt, of
which only the last logits are needed."""


@dataclass(frozen=True)
class Work:
    """The work to measure: a number of positions, beginning at position 0."""

    kind: Kind
    positions: int


@dataclass(frozen=True)
class Engine:
    """A program that does one kind of work."""

    name: str
    """llgen, yardstick, llama.cpp, torch or limit."""
    scheme: str
    """Number format of the weights, as the engine calls it."""
    threads: int
    work: Work
    command: Callable[[int], Sequence[str]]
    """Number of repeats -> command line, which prints a line `seconds S` for each repeat."""
    target: str | None = None
    """Target of llgen's C; None for other engines."""
    kv: str | None = None
    """Format of keys and values in llgen's C; None for other engines."""
    isa: str | None = None
    """Vector instructions that the engine was compiled for; None when unknown."""
    tuning: str | None = None
    """Tuning file of llgen's C; None for the default sizes."""

    @property
    def title(self) -> str:
        """The engine's name, for a person."""
        return f"{self.name} with {self.tuning}" if self.tuning else self.name

    @property
    def label(self) -> str:
        """What is being measured, for a person."""
        return f"{self.title} {self.scheme} {self.work.kind}, {self.threads} thread{'s' if self.threads > 1 else ''}"


def measure(engine: Engine, repeats: int) -> float:
    """Tokens per second over `repeats` repeats in one process, after one repeat that warms up.

    The fastest repeat would mislead: on a busy machine, short work sometimes runs undisturbed, and long work never
    does. Raises LlgenError with the engine's output when it fails.
    """
    # Libraries that start threads by themselves use the number of threads that is measured.
    environment = {**os.environ, "OMP_NUM_THREADS": str(engine.threads), "MKL_NUM_THREADS": str(engine.threads)}
    words = [*engine.command(repeats + 1)]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, env=environment, check=False)
    said = (done.stdout + done.stderr).decode("utf-8", errors="replace")
    seconds = [float(found) for found in re.findall(r"^seconds (\d+\.\d+)\s*$", said, re.MULTILINE)]
    if done.returncode != 0 or len(seconds) != repeats + 1:
        raise LlgenError(f"{engine.name} failed at {engine.label}: {' '.join(words)}\n{said.strip()[-500:]}")
    return repeats * engine.work.positions / max(sum(seconds[1:]), 1e-9)
