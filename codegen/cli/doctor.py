"""`llgen doctor`: what is installed, what is missing, and the command that installs it."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import click

from llgen.errors import ExitCode, LlgenError
from llgen.targets.schema import load_target, target_names

from ..compile.toolchain import cache_directory, run_tool, zig_cc
from ..run.emulator import missing_emulator
from .output import answer, json_option


@dataclass(frozen=True)
class _Finding:
    what: str
    found: str | None
    """What was found; None: it is missing."""
    fix: str
    """The command or the step that fixes it."""
    needed: bool
    """Whether llgen cannot build without it."""


@click.command(name="doctor")
@json_option
def command(as_json: bool) -> int:
    """Check the toolchain, the cache folder, the emulators and PyTorch.

    Exits 1 when something that building needs is missing.
    """
    findings = list(_examine())
    good = all(finding.found for finding in findings if finding.needed)
    if as_json:
        answer({"good": good, "findings": [asdict(finding) for finding in findings]})
        return ExitCode.DONE if good else ExitCode.FAILED
    for finding in findings:
        mark = "ok     " if finding.found else "MISSING" if finding.needed else "absent "
        click.echo(f"{mark} {finding.what:<28} {finding.found or finding.fix}")
    return ExitCode.DONE if good else ExitCode.FAILED


def _examine() -> Iterator[_Finding]:
    yield _Finding("python", f"{platform.python_version()} on {platform.machine()}", "", needed=True)
    for package in ("numpy", "jinja2", "sentencepiece", "safetensors", "ziglang"):
        yield _Finding(package, _version(package), f"pip install {package}", needed=True)
    yield _Finding("zig cc makes a program", _compiles(), "pip install --force-reinstall ziglang", needed=True)
    yield _Finding("cache folder", _cache(), f"make {cache_directory()} writable, or set LLGEN_CACHE_DIR", needed=True)
    yield _Finding("torch, for training", _version("torch"), "pip install 'llgen[train]'", needed=False)
    yield _Finding("pyserial, to read devices", _version("pyserial"), "pip install pyserial", needed=False)
    yield _Finding("valgrind, to count here", shutil.which("valgrind"), "apt-get install valgrind", needed=False)
    for name in target_names():
        problem = missing_emulator(load_target(name))
        yield _Finding(f"running {name}", None if problem else "yes", problem or "", needed=False)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _compiles() -> str | None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "empty.c").write_text("int main(void) { return 0; }\n", encoding="ascii")
        try:
            run_tool([*zig_cc(load_target("host")), "-o", "empty", "empty.c"], folder)
        except LlgenError:
            return None
    program, *words = zig_cc(load_target("host"))
    return " ".join([Path(program).name, *words])


def _cache() -> str | None:
    folder = cache_directory()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return str(folder) if os.access(folder, os.W_OK) else None
