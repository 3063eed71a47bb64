"""The tests themselves: they pass on a machine that is slow, busy, or has another processor."""

from __future__ import annotations

import ast
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

TESTS = sorted(Path(__file__).parent.rglob("*.py"))


@given(st.integers(min_value=0, max_value=1))
def test_an_example_may_take_long(number):
    time.sleep(0.3 if number else 0.0)  # more than the deadline that hypothesis has by itself


def short_waits(tree: ast.AST) -> Iterator[int]:
    """The lines that give a process or a thread a number of seconds, in place of PATIENCE."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield from (
                word.value.lineno
                for word in node.keywords
                if word.arg == "timeout" and isinstance(word.value, ast.Constant) and word.value.value is not None
            )


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_no_test_takes_a_slow_machine_for_a_stuck_one(path):
    assert list(short_waits(ast.parse(path.read_text(encoding="utf-8")))) == []


def test_a_wait_in_numbers_is_found():
    assert list(short_waits(ast.parse("\nrun(words, timeout=60)\nrun(words, timeout=PATIENCE)\n"))) == [2]
