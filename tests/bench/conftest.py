"""Fixtures of the benchmark's tests."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from models import random_checkpoint

from llgen.codegen.checkpoint import save_checkpoint
from llgen.codegen.cli import main


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model directory: hidden 172, heads of 6, untied, two KV heads, 75 positions; no tokenizer."""
    directory = tmp_path_factory.mktemp("models") / "odd"
    save_checkpoint(random_checkpoint(), directory)
    return directory


@pytest.fixture
def bench(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, dict[str, Any], str]]:
    """Run `llgen bench … --json`; returns (exit code, answer, standard error)."""

    def run(*arguments: object) -> tuple[int, dict[str, Any], str]:
        monkeypatch.setattr(sys, "argv", ["llgen", "bench", *map(str, arguments), "--json"])
        with pytest.raises(SystemExit) as caught:
            main()
        out, err = capfd.readouterr()
        return int(caught.value.code or 0), json.loads(out) if out else {}, err

    return run
