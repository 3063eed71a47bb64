"""Fixtures of all tests."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import few_threads  # noqa: F401 - before NumPy and PyTorch
import pytest
from commands import Answering, Command
from hypothesis import HealthCheck, settings
from models import random_checkpoint, talking_checkpoint
from slow import is_slow

from llgen.codegen.formats.hf.directory import save_checkpoint
from llgen.codegen.run.emulator import lacking_instructions, missing_emulator
from llgen.targets.schema import Target, load_target

# How long an example takes says something of the machine, and nothing of llgen. A folder that examples share is meant.
settings.register_profile(
    "any_machine",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("any_machine")

# `make test` tells a make that a test starts that it is another's: it would say which folder it enters.
for variable in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS"):
    os.environ.pop(variable, None)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: compiles, runs programs, trains (found by itself: tests/lib/slow.py)")
    config.addinivalue_line("markers", "quick: compiles or runs something, and belongs into `make quick`")


def pytest_itemcollected(item: pytest.Item) -> None:
    if isinstance(item, pytest.Function) and not item.get_closest_marker("quick") and is_slow(item):
        item.add_marker(pytest.mark.slow)


@pytest.fixture(autouse=True)
def no_process_in_a_quick_test(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that the search for slow tests did not see coming."""
    if any(request.node.get_closest_marker(name) for name in ("slow", "quick")):
        return

    def refuse(self: object, arguments: object, *rest: object, **more: object) -> None:
        pytest.fail(f"tests/lib/slow.py takes this test for a quick one, and it starts {arguments}")

    monkeypatch.setattr(subprocess.Popen, "__init__", refuse)


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


def installed_in_ci(problem: str) -> None:
    """Skip what needs something that can be installed; in CI it is installed, so that it fails there."""
    if os.environ.get("CI"):
        pytest.fail(problem)
    pytest.skip(problem)


@pytest.fixture
def runnable() -> Callable[[str], Target]:
    """Load a target that runs here. Skips what this processor lacks, in CI too, and fails there when a package is."""

    def load(name: str) -> Target:
        target = load_target(name)
        problem = missing_emulator(target)
        if problem and (target.runner is None or lacking_instructions(target)):
            pytest.skip(f"{name}: {problem}")
        if problem:
            installed_in_ci(problem)
        return target

    return load


@pytest.fixture
def tool() -> Callable[[str, str], str]:
    """Find a program; skips, or fails in CI, with the name of the package that brings it."""

    def find(name: str, package: str) -> str:
        path = shutil.which(name)
        if path is None:
            installed_in_ci(f"'{name}' is not installed; apt-get install {package}")
        return str(path)

    return find


@pytest.fixture
def llgen(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    """Run `llgen ARGUMENTS` in this process; returns (exit code, standard output, standard error)."""
    from llgen.codegen.cli import main

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["llgen", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            main()
        code = caught.value.code or 0
        assert isinstance(code, int)
        out, err = capfd.readouterr()
        return code, out, err

    return run


@pytest.fixture
def answer(llgen: Command) -> Answering:
    """Run `llgen ARGUMENTS --json`; returns (exit code, answer, standard error)."""

    def run(*arguments: object) -> tuple[int, dict[str, Any], str]:
        code, out, err = llgen(*arguments, "--json")
        return code, json.loads(out) if out else {}, err

    return run


@pytest.fixture(scope="session")
def fox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model directory with a tokenizer."""
    directory = tmp_path_factory.mktemp("models") / "fox"
    save_checkpoint(talking_checkpoint(), directory)
    return directory


@pytest.fixture(scope="session")
def mute(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model directory without a tokenizer: hidden 172, heads of 6, untied, two KV heads, 75 positions."""
    directory = tmp_path_factory.mktemp("models") / "mute"
    save_checkpoint(random_checkpoint(), directory)
    return directory
