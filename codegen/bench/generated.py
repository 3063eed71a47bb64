"""llgen's own engine: a generated program, and its `--bench` and `--prefill`."""

from __future__ import annotations

from ..runner import BENCH_OPTIONS, command
from ..toolchain import Artifact
from .engine import Engine, Work

MAX_THREADS = 1
"""What a generated program can put to use."""


def generated_engine(artifact: Artifact, scheme: str, kv: str, work: Work, threads: int) -> Engine:
    """A program for a target that keeps time; `threads` is at most MAX_THREADS."""
    words = [BENCH_OPTIONS[work.kind], str(work.positions), "--repeats"]
    return Engine(
        name="llgen",
        scheme=scheme,
        threads=threads,
        work=work,
        command=lambda repeats: command(artifact, [*words, str(repeats)]),
        target=artifact.target.name,
        kv=kv,
    )
