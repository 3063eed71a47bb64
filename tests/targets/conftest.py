"""Fixtures of the target tests."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from models import ODD, random_checkpoint, trained_vocabulary

from llgen.codegen.checkpoint import Checkpoint, save_checkpoint
from llgen.codegen.cli import main
from llgen.codegen.runner import missing_emulator
from llgen.targets.schema import Target, load_target


@pytest.fixture(scope="session")
def odd() -> Checkpoint:
    """Hidden 172, heads of 6, untied, two KV heads, a vocabulary that ends inside a block; no tokenizer."""
    return random_checkpoint()


@pytest.fixture(scope="session")
def fox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model directory with a tokenizer."""
    vocabulary = trained_vocabulary()
    config = ODD.__class__(**{**ODD.__dict__, "vocab_size": len(vocabulary), "tied": True})
    directory = tmp_path_factory.mktemp("models") / "fox"
    save_checkpoint(random_checkpoint(config, vocabulary=vocabulary), directory)
    return directory


@pytest.fixture
def runnable() -> Callable[[str], Target]:
    """Load a target that runs here; skips, or fails in CI, with the name of the package that is missing."""

    def load(name: str) -> Target:
        target = load_target(name)
        problem = missing_emulator(target)
        if problem:
            if target.runner is not None and os.environ.get("CI"):
                pytest.fail(problem)
            pytest.skip(problem)
        return target

    return load


@pytest.fixture
def tool() -> Callable[[str, str], str]:
    """Find a program; skips, or fails in CI, with the name of the package that brings it."""

    def find(name: str, package: str) -> str:
        path = shutil.which(name)
        if path is None:
            reason = f"'{name}' is not installed; apt-get install {package}"
            if os.environ.get("CI"):
                pytest.fail(reason)
            pytest.skip(reason)
        return path

    return find


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run a command in this process; returns (exit code, standard output, standard error)."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["llgen", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            main()
        out, err = capfd.readouterr()
        return int(caught.value.code or 0), out, err

    return run
