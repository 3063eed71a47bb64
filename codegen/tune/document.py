"""The text of a tuning file: the chosen sizes; and, as comments for a reviewer, their gain and all trials."""

from __future__ import annotations

import json
from collections.abc import Iterator

from .. import __version__
from ..bench.host import processor
from ..plan.tuning import Shape, Values, purpose_of
from .judges import in_words
from .search import Trial
from .tuner import Outcome, Request


def document(request: Request, outcome: Outcome) -> str:
    """The tuning file of an outcome: TOML that `plan.tuning.Tuning` reads."""
    return "\n".join(_lines(request, outcome)) + "\n"


def _lines(request: Request, outcome: Outcome) -> Iterator[str]:
    purpose = purpose_of(request.model, request.target)
    yield "# Sizes of blocks and tiles for models of one shape on one target, found by `llgen tune`."
    yield "# `llgen build --tuning FILE` reads them. They change speed and memory, but no bit of the results."
    yield ""
    yield "[for]"
    for name in ("target", "scheme", "kv"):
        yield f"{name} = {json.dumps(getattr(purpose, name))}"
    shape = ", ".join(f"{name} = {getattr(purpose.shape, name)}" for name in Shape.model_fields)
    yield f"shape = {{ {shape} }}"
    yield ""
    yield "[values]"
    usual = outcome.usual.given()
    for name, value in outcome.values.given().items():
        note = "the default" if value == usual[name] else f"default {in_words(usual[name])}"
        unit = ", positions x vectors" if name.endswith("tiles") else ""
        yield f"{name} = {json.dumps(value)} # {note}{unit}"
    yield ""
    yield "[measured]"
    yield f"llgen = {json.dumps(__version__)}"
    yield f"by = {json.dumps(request.by)} # {_how(request)}"
    yield f"machine = {json.dumps(processor() if request.by == 'time' else request.target.name)}"
    for work in request.works:
        note = f"speed divided by the speed with the default sizes, {work.positions} positions"
        yield f"{work.kind} = {outcome.ratios[work.kind]:.4f} # {note}"
    yield f"flash_bytes = {json.dumps(list(outcome.flash_bytes))} # with the default sizes, and with these"
    yield f"ram_bytes = {json.dumps(list(outcome.ram_bytes))}"
    yield ""
    kinds = ", ".join(work.kind for work in request.works)
    yield f"# All trials, with their speed divided by the speed of the best sizes until then: {kinds}"
    for trial in outcome.trials:
        yield f"#   {trial_words(trial)}"
    if not outcome.complete:
        yield "# The time limit ended the search before all sizes were tried."


def _how(request: Request) -> str:
    if request.by == "instructions":
        return "per token"
    threads = f", {request.threads} threads" if request.threads > 1 else ""
    return f"medians of {request.rounds} rounds{threads}"


def trial_words(trial: Trial) -> str:
    """One trial as a line for a person."""
    what = f"{trial.knob} {in_words(getattr(trial.values, trial.knob))}"
    if trial.gain is None:
        return f"{what}: does not fit"
    ratios = ", ".join(f"{ratio:.4f}" for ratio in trial.gain.ratios.values())
    return f"{what}: {ratios}{', taken' if trial.taken else ''}"


def changes(usual: Values, values: Values) -> dict[str, tuple[str, str]]:
    """Name -> (default size, chosen size), for sizes that differ."""
    before = usual.given()
    return {
        name: (in_words(before[name]), in_words(value))
        for name, value in values.given().items()
        if before[name] != value
    }
