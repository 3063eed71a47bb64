"""Fixtures of all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="Accept the generated C as it is now.")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference models and texts, which is no part of the repository; tests that need it are skipped
    without it."""
    folder = Path(os.environ.get("LLGEN_SHARED") or Path(__file__).parents[2] / "shared")
    if not (folder / "models").is_dir():
        pytest.skip(f"no reference models at '{folder}'; LLGEN_SHARED names their folder")
    return folder
