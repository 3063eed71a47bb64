"""Checking a target: build for it, run the program there, and compare its result with the reference."""

from __future__ import annotations

from dataclasses import dataclass

from llgen.errors import ExitCode, LlgenError
from llgen.targets.instruction_sets import select
from llgen.targets.schema import Target

from ..build.folder import Progress, build_cached, expected_trace
from ..plan.extras import PLAIN, Extras
from ..plan.fit import fitting_context
from ..plan.speculation import positions_for_drafts
from ..plan.tuning import Values
from ..quantise.quantize import QuantModel
from ..reference.forward import Trace
from ..run.counting import instructions_per_token
from ..run.emulator import missing_emulator
from ..run.runner import run_selftest
from .parity import first_divergence, first_token_difference


@dataclass(frozen=True)
class Verdict:
    """The result of checking a model on one target."""

    target: str
    digest: str | None = None
    """Digest of the run on the target; None when there was no run."""
    equal: bool | None = None
    skipped: str | None = None
    """The reason why the program was not run, or not built."""
    first_difference: str | None = None
    instructions_per_token: float | None = None
    """Mean over the positions of the check; None when instructions are not counted."""
    flash_bytes: int | None = None
    ram_bytes: int | None = None
    context: int | None = None
    """Positions that the program was built for."""
    positions: int | None = None
    """Number of positions that were compared."""
    fits: bool = True
    """False: the target's memory is too small; `skipped` says by how much."""
    error: str | None = None
    """The message of a failure in building or running."""


def verify(
    model: QuantModel,
    target: Target,
    positions: int,
    *,
    counts: bool,
    progress: Progress,
    extras: Extras = PLAIN,
    tuning: Values | None = None,
) -> Verdict:
    """Compare a target with the reference, bit for bit, after the baked prompt if there is one. `counts` asks for the
    number of instructions, too.

    Raises LlgenError when building or running fails.
    """
    positions = min(positions, model.context - extras.cached)
    built = build_cached(model, target, progress, extras=extras, tuning=tuning)
    facts = {
        "target": target.name,
        "flash_bytes": built.facts["flash_bytes"],
        "ram_bytes": built.facts["ram_bytes"],
        "context": model.context,
    }
    problem = missing_emulator(target)
    if problem:
        return Verdict(**facts, skipped=problem)
    expected = expected_trace(model, positions, extras.tokens)
    progress(f"running on {target.name}")
    found = run_selftest(built.artifact, positions, extras.drafts)
    facts |= {"digest": found.digest_hex, "equal": found == expected, "positions": positions}
    if found != expected:
        progress("looking for the first difference")
        return Verdict(**facts, first_difference=_difference(model, target, extras, tuning, expected, found))
    if counts:
        progress(f"counting instructions on {target.name}")
        facts["instructions_per_token"] = instructions_per_token(built.artifact, positions)
    return Verdict(**facts)


def verify_leniently(
    model: QuantModel,
    target: Target,
    positions: int,
    progress: Progress,
    extras: Extras = PLAIN,
    *,
    shortens: bool,
) -> Verdict:
    """As verify, for one of several targets: a failure becomes a verdict.

    `shortens`: for a board that is too small, the context is reduced to the longest that fits.
    """
    try:
        if shortens:
            block = positions_for_drafts(1, extras.drafts, model.context, asked=False)
            model = model.for_context(fitting_context(model, select(target.isa), target, block, extras.drafts))
        return verify(model, target, positions, counts=True, progress=progress, extras=extras)
    except LlgenError as error:
        if error.exit_code == ExitCode.DOES_NOT_FIT:
            return Verdict(target.name, skipped=error.message.splitlines()[0], fits=False)
        return Verdict(target.name, error=error.message)


def _difference(
    model: QuantModel, target: Target, extras: Extras, tuning: Values | None, expected: Trace, found: Trace
) -> str:
    where = first_divergence(model, target, len(expected.tokens), extras, tuning)
    return str(where) if where else first_token_difference(expected, found) or "only in the build without trace"
