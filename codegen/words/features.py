"""The box of features: what this build of a model has, as conditions that several kinds of templates ask."""

from __future__ import annotations

from dataclasses import dataclass

from .decisions import Decisions


@dataclass(frozen=True)
class Features:
    """Named decisions."""

    integer: bool
    """Products are sums of integers."""
    whole_cache: bool
    """Keys and values are integers."""
    has_float_unit: bool
    """The processor has instructions for floats."""
    blocks: bool
    """Several positions are evaluated together; else one at a time."""
    threads: bool
    """Evaluation may be divided among threads."""
    speculates: bool
    """Tokens may be evaluated ahead."""
    forgets: bool
    """A reset forgets threads or speculation, which the caller must then set again."""
    baked_prompt: bool
    """Conversations begin with a prompt whose keys and values are constants."""
    has_tokenizer: bool
    trace: bool
    """The network hands every intermediate to a function outside; for `llgen check` alone."""


def features(decided: Decisions) -> Features:
    """Fill the box."""
    model = decided.model
    return Features(
        integer=model.is_integer,
        whole_cache=model.kv == "q8",
        has_float_unit=not decided.kernels.soft_float,
        blocks=decided.blocks,
        threads=decided.threads,
        speculates=decided.speculates,
        forgets=decided.threads or decided.speculates,
        baked_prompt=decided.memory.prompt is not None,
        has_tokenizer=decided.tables is not None,
        trace=decided.trace,
    )
