"""Which tests are slow: those that reach what compiles, runs, trains or reads with another library.

A test's code is followed through its fixtures and the functions and classes of tests/, never into llgen.
The mark `slow` is given by hand where this search is blind, and `quick` to a slow test that `make quick` runs, too.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import pytest

TESTS = Path(__file__).parents[1]
SLOW = (
    "commands",
    "generated",
    "header_names",
    "llgen.codegen.bench",
    "llgen.codegen.build",
    "llgen.codegen.check",
    "llgen.codegen.cli",
    "llgen.codegen.compile",
    "llgen.codegen.run",
    "llgen.codegen.tune",
    "llgen.trainer",
    "multiprocessing",
    "runs",
    "subprocess",
    "torch",
    "transformers",
)
"""Modules and packages whose users are slow."""
GUARD = "no_process_in_a_quick_test"
"""The fixture of all tests that holds quick ones to being quick."""


def is_slow(item: pytest.Function) -> bool:
    """Whether a test reaches one of the slow modules, itself or by a fixture."""
    found = item._fixtureinfo.name2fixturedefs
    fixtures = [definitions[-1].func for name, definitions in found.items() if name != GUARD]
    test = getattr(item.obj, "hypothesis", None)
    return reaches(test.inner_test if test else item.obj, *fixtures)


def reaches(*functions: Callable[..., Any]) -> bool:
    """Whether one of the functions, or a function of tests/ that it calls, uses a slow module."""
    waiting, seen = [_plain(function) for function in functions], set()
    while waiting:
        function = waiting.pop()
        if not _is_of_tests(function) or function in seen:
            continue
        seen.add(function)
        for name in _names(function.__code__):
            value = function.__globals__.get(name)
            if any(_is_slow_name(word) for word in (name, *_homes(value))):
                return True
            waiting += [_plain(value), *(vars(value).values() if inspect.isclass(value) else ())]
    return False


def _plain(value: Any) -> Any:
    """A function without decorators and arguments that are bound already."""
    value = inspect.unwrap(value) if callable(value) else value
    return getattr(value, "__func__", value)


def _is_of_tests(function: Any) -> bool:
    return inspect.isfunction(function) and TESTS in Path(function.__code__.co_filename).parents


def _names(code: CodeType) -> Iterator[str]:
    """What a function and those within it refer to: globals, attributes, modules that they import."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _homes(value: object) -> list[str]:
    """The module that a value is, or those that it, or a class and its bases, were defined in."""
    if isinstance(value, ModuleType):
        return [value.__name__]
    owners = inspect.getmro(value) if inspect.isclass(value) else (value,)
    return [getattr(owner, "__module__", None) or "" for owner in owners]


def _is_slow_name(name: str) -> bool:
    return any(name == slow or name.startswith(f"{slow}.") for slow in SLOW)
