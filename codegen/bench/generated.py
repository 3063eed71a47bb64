"""llgen's own engine: a generated program, and its `--bench` and `--prefill`."""

from __future__ import annotations

from llgen.targets.schema import Target

from ..blocking import has_threads
from ..kernels import select
from ..runner import BENCH_OPTIONS, command
from ..toolchain import Artifact
from .engine import Engine, Work

_MAX_THREADS = 64


def max_threads(artifact: Artifact) -> int:
    """How many threads a generated program can put to use."""
    return _MAX_THREADS if has_threads(artifact.target, positions=2) else 1


def instruction_set(target: Target, scheme: str) -> str:
    """The kernels of a target that a scheme uses, by the names of target files."""
    kernels = select(target.isa)
    names = [kernels.isa, *([kernels.int_isa] if scheme != "f32" else [])]
    return ", ".join(dict.fromkeys(names))


def generated_engine(
    artifact: Artifact, scheme: str, kv: str, work: Work, threads: int, tuning: str | None = None
) -> Engine:
    """A program for a target that keeps time; `threads` is at most `max_threads`."""
    divided = ["--threads", str(threads)] if threads > 1 else []
    words = [BENCH_OPTIONS[work.kind], str(work.positions), *divided, "--repeats"]
    return Engine(
        name="llgen",
        scheme=scheme,
        threads=threads,
        work=work,
        command=lambda repeats: command(artifact, [*words, str(repeats)]),
        target=artifact.target.name,
        kv=kv,
        isa=instruction_set(artifact.target, scheme),
        tuning=tuning,
    )
