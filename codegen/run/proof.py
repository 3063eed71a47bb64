"""Checks a new program against the reference before its manifest is written."""

from __future__ import annotations

from dataclasses import dataclass

from llgen.errors import ExitCode, LlgenError
from llgen.targets.schema import Target

from ..compile.toolchain import Artifact
from ..model.architectures import parameter_count
from ..quantise.quantize import QuantModel
from ..reference.forward import Trace
from .emulator import missing_emulator
from .runner import run_selftest

EMULATED_PRODUCTS = 500_000_000
"""Limit of multiplications with weights in an emulated self-test: some seconds for any model."""


@dataclass(frozen=True)
class Proof:
    """How many positions of a program were compared with the reference."""

    positions: int
    """Number of positions, from the first on, whose logits were equal bit for bit."""
    obstacle: str | None = None
    """The reason when no position was compared."""


def positions_to_prove(model: QuantModel, target: Target, most: int) -> int:
    """How many positions a build compares: `most`, or fewer for a model that takes long in an emulator."""
    if target.runner is None or target.runner.argv[0] == "{artifact}":
        return most
    return max(1, min(most, EMULATED_PRODUCTS // parameter_count(model.config)))


def prove(artifact: Artifact, expected: Trace, drafts: int) -> Proof:
    """Run a program's self-test, if it can run here, over the positions of `expected`.

    Raises LlgenError (parity failed) when the program computes something else, and LlgenError when it ends with an
    error without an emulator. An error in an emulator may be the emulator's fault: the result then names it as the
    obstacle. A file system that allows no programs is an obstacle, too.
    """
    problem = missing_emulator(artifact.target)
    if problem is not None:
        return Proof(0, problem)
    try:
        found = run_selftest(artifact, len(expected.tokens), drafts)
    except OSError as error:  # of starting it: mounted noexec, for one
        return Proof(0, f"it cannot be run where it lies: {error.strerror or error}")
    except LlgenError as error:
        runner = artifact.target.runner
        if runner is None or runner.argv[0] == "{artifact}":
            raise
        return Proof(0, error.message.splitlines()[0])
    if found != expected:
        raise LlgenError(
            f"'{artifact.path.name}' computes {found.digest_hex} over {len(expected.tokens)} positions; the reference,"
            f" {expected.digest_hex}: it was not kept",
            "`llgen check` with the same options says where they part",
            ExitCode.PARITY_FAILED,
        )
    return Proof(len(expected.tokens))
