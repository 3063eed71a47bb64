"""The compiler's program is found inside its package, and started without Python between."""

from __future__ import annotations

import subprocess
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from llgen.codegen.compile import toolchain
from llgen.codegen.compile.toolchain import zig


def version_of(*command: str) -> str:
    return subprocess.run([*command, "version"], capture_output=True, text=True, check=True).stdout


def test_it_is_the_program_that_python_starts() -> None:
    assert len(zig()) == 1
    assert version_of(*zig()) == version_of(sys.executable, "-m", "ziglang")


@pytest.mark.parametrize("installed", [False, True], ids=["no package", "a package without the program"])
def test_python_is_asked_where_it_is_not_found(
    installed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = ModuleSpec("ziglang", None, is_package=True)
    package.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr(toolchain, "find_spec", lambda name: package if installed else None)
    assert zig.__wrapped__() == (sys.executable, "-m", "ziglang")
