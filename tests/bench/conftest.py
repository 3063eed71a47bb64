"""Fixtures of the benchmark's tests."""

from __future__ import annotations

from functools import partial

import pytest
from commands import Answering


@pytest.fixture
def bench(answer: Answering) -> Answering:
    """Run `llgen bench … --json`; returns (exit code, answer, standard error)."""
    return partial(answer, "bench")
