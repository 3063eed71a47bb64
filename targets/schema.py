"""What a target file may say, and how one is found and checked."""

from __future__ import annotations

import platform
import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from llgen.codegen.errors import LlgenError, UsageError


class _Facts(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Compiler(_Facts):
    """How `zig cc` is called for a target."""

    triple: str | None = None
    """zig's -target; none for the machine itself."""
    cpu: str | None = None
    """zig's -mcpu, in zig's spelling: underscores, features joined by + and -."""
    cflags: tuple[str, ...] = ()
    """Flags that any compiler needs for this target; they stand in the generated Makefile too."""
    ldflags: tuple[str, ...] = ()


class Runner(_Facts):
    """How a program for a target is started on the machine at hand."""

    argv: tuple[str, ...] = Field(min_length=1)
    """The words before the program's own arguments; {artifact} stands for the program."""
    package: str | None = None
    """The Debian package that brings the first word, when that is an emulator."""


class Target(_Facts):
    """The facts of one target."""

    name: str
    description: str
    isa: tuple[str, ...] = Field(min_length=1)
    """Instruction sets for the kernels, the best first."""
    stdio: Literal["hosted"]
    """Where the program's text goes."""
    compiler: Compiler
    runner: Runner | None = None
    """None: programs for this target can be built here, not run."""


def load_target(name: str) -> Target:
    """The target of that name, or in that TOML file; `host` is the best one for the machine at hand.

    Raises UsageError when there is none, LlgenError when the file breaks the schema.
    """
    if name == "host":
        name = _host()
    if name.endswith(".toml"):
        path = Path(name)
        if not path.is_file():
            raise UsageError(f"there is no target file '{name}'")
        return parse_target(path.read_text(encoding="utf-8"), path.stem, str(path))
    if name not in target_names():
        raise UsageError(f"there is no target '{name}'", f"choose one of: host, {', '.join(target_names())}")
    text = (files(__package__) / f"{name}.toml").read_text(encoding="utf-8")
    return parse_target(text, name, f"{name}.toml")


def target_names() -> list[str]:
    """The targets that llgen ships, in alphabetical order."""
    return sorted(
        entry.name.removesuffix(".toml") for entry in files(__package__).iterdir() if entry.name.endswith(".toml")
    )


def parse_target(text: str, name: str, source: str) -> Target:
    """Check the text of a target file; `source` is for messages."""
    try:
        return Target.model_validate({"name": name, **tomllib.loads(text)})
    except tomllib.TOMLDecodeError as error:
        raise LlgenError(f"'{source}' is not valid TOML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        what = "is not a key of a target file" if first["type"] == "extra_forbidden" else f"is wrong: {first['msg']}"
        raise LlgenError(f"'{source}': {key} {what}", "doc/adding-a-target.md lists the keys") from error


def _host() -> str:
    machine = platform.machine().lower()
    if machine in ("x86_64", "amd64"):
        return "x86_64_v3" if "avx2" in _cpu_flags() else "x86_64"
    return "generic"


def _cpu_flags() -> set[str]:
    """What Linux says of the first processor; empty elsewhere, and so the safe choice is made."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return set()
    for line in lines:
        if line.startswith("flags"):
            return set(line.split(":", 1)[1].split())
    return set()
