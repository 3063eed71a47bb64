"""Verifying a target: build for it, run there, and hold what it computed against the reference."""

from __future__ import annotations

from dataclasses import dataclass

from llgen.targets.schema import Target

from .build import Progress, build_cached, expected_trace
from .counting import instructions_per_token
from .errors import ExitCode, LlgenError
from .extras import PLAIN, Extras
from .fit import fitting_context
from .kernels import select
from .parity import first_divergence, first_token_difference
from .quantize import QuantModel
from .reference import Trace
from .runner import missing_emulator, run_selftest
from .speculation import positions_for_drafts
from .tuning import Values


@dataclass(frozen=True)
class Verdict:
    """What is known of a model on one target."""

    target: str
    digest: str | None = None
    """Of the run there; None when there was none."""
    equal: bool | None = None
    skipped: str | None = None
    """Why nothing was run, or not even built."""
    first_difference: str | None = None
    instructions_per_token: float | None = None
    """The mean over the positions of the check; None where they are not counted."""
    flash_bytes: int | None = None
    ram_bytes: int | None = None
    context: int | None = None
    """Positions that it was built for."""
    positions: int | None = None
    """Positions that were compared."""
    fits: bool = True
    """False: the target's memory is too small; `skipped` says by how much."""
    error: str | None = None
    """Why building or running failed, where it should not have."""


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
    """Compare a target with the reference, bit for bit, behind the prompt if there is one; `counts` asks for
    instructions, too.

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
    """As verify, one target of many: a failure becomes a verdict.

    A board that is too small gets the context that fits it, when `shortens`.
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
