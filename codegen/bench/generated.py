"""llgen's own engine: a generated program, run with `--bench` or `--prefill`."""

from __future__ import annotations

from llgen.targets.instruction_sets import select
from llgen.targets.schema import Target

from ..compile.toolchain import Artifact
from ..plan.blocking import has_threads
from ..run.runner import BENCH_OPTIONS, command
from .engine import Engine, Work

_MAX_THREADS = 64


def max_threads(artifact: Artifact) -> int:
    """Maximum number of threads that a generated program can use."""
    return _MAX_THREADS if has_threads(artifact.target, positions=2) else 1


def instruction_set(target: Target, scheme: str) -> str:
    """Names, as in target files, of the instruction sets whose vector vocabularies the kernels of a scheme use."""
    kernels = select(target.isa)
    names = [kernels.origin("float.h"), *([kernels.origin("int.h")] if scheme != "f32" else [])]
    return ", ".join(dict.fromkeys(names))


def generated_engine(
    artifact: Artifact, scheme: str, kv: str, work: Work, threads: int, tuning: str | None = None
) -> Engine:
    """The engine of a program for a target whose time can be measured; `threads` is at most `max_threads`."""
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
