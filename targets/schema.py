"""What a target file may say, and how one is found and checked."""

from __future__ import annotations

import platform
import tomllib
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from llgen.codegen.errors import LlgenError, UsageError

Content = Literal["code", "weights", "data", "state"]
"""What a memory region may hold: vectors, functions and tables; weights; variables and the stack; the model's state."""

CONTENTS: tuple[Content, ...] = ("code", "weights", "data", "state")


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
    """Flags of the linker; they stand in the generated Makefile too."""
    gcc: tuple[str, ...] = ()
    """The command of a GCC that makes the same program, with the flags that name the part; the Makefile tells it."""
    gcc_libraries: tuple[str, ...] = ()
    """What that GCC must link besides."""


class Runner(_Facts):
    """How a program for a target is started on the machine at hand."""

    argv: tuple[str, ...] = Field(min_length=1)
    """The words before the program's own arguments; {artifact} stands for the program, {python} for this Python,
    {directory} for the folder of the program."""
    package: str | None = None
    """The Debian package that brings the first word, when that is an emulator."""
    python_package: str | None = None
    """The Python package that running needs, when it is one."""
    cpu_flags: tuple[str, ...] = ()
    """What the processor must have, in the words of Linux's /proc/cpuinfo, when the machine itself runs the program."""
    compiles: bool = False
    """Whether it turns the program into machine code of the machine at hand, so that time says something of both."""
    counter: Literal["callgrind", "plugin", "icount", "fuel"] | None = None
    """How instructions are counted: by valgrind, a plugin of QEMU's user mode, the virtual time of a QEMU machine,
    or wasmtime's fuel. None: they are not."""


class Memory(_Facts):
    """A region of a bare machine's memory."""

    name: str = Field(pattern=r"^[A-Z][A-Z0-9_]*$")
    origin: int = Field(ge=0, lt=1 << 32)
    length: int = Field(gt=0, le=1 << 32)
    holds: tuple[Content, ...] = Field(min_length=1)


class Firmware(_Facts):
    """What an image that runs without an operating system must know of its machine."""

    core: Literal["cortex_m", "riscv"]
    """Decides the start-up code and the timer."""
    fpu: bool = False
    """The start-up code turns a floating-point or vector unit on."""
    caches: bool = False
    """The start-up code turns the caches on."""
    clock_hz: int = Field(gt=0, lt=1 << 32)
    """Ticks a second of the core's timer: SysTick on the processor's clock, or the cycle counter."""
    stack_bytes: int = Field(default=4096, ge=2048, multiple_of=16)
    """Room for the stack at the end of the region that holds the data."""
    memory: tuple[Memory, ...] = Field(min_length=1)

    def region(self, content: Content) -> Memory:
        """The region that holds it."""
        return next(region for region in self.memory if content in region.holds)

    @model_validator(mode="after")
    def _each_content_has_one_place(self) -> Firmware:
        for content in CONTENTS:
            holders = [region.name for region in self.memory if content in region.holds]
            if len(holders) != 1:
                raise ValueError(f"'{content}' is held by {' and '.join(holders) or 'no region'}; it needs one region")
        ordered = sorted(self.memory, key=lambda region: region.origin)
        for low, high in pairwise(ordered):
            if low.origin + low.length > high.origin:
                raise ValueError(f"the regions {low.name} and {high.name} overlap at {high.origin:#x}")
        return self


class Target(_Facts):
    """The facts of one target."""

    name: str
    description: str
    isa: tuple[str, ...] = Field(min_length=1)
    """Instruction sets for the kernels, the best first."""
    stdio: Literal["hosted", "semihosting", "web"]
    """Where the program's text goes: a C library, a debugger or an emulator, the JavaScript around a module."""
    suffix: str = ""
    """What the program's file name ends with."""
    compiler: Compiler
    firmware: Firmware | None = None
    """For programs without an operating system, and only for those."""
    runner: Runner | None = None
    """None: programs for this target can be built here, not run."""

    @model_validator(mode="after")
    def _firmware_goes_with_semihosting(self) -> Target:
        if (self.firmware is not None) != (self.stdio == "semihosting"):
            what = "needs" if self.firmware is None else "excludes"
            raise ValueError(f"stdio '{self.stdio}' {what} a [firmware] table")
        return self


def keeps_time(target: Target) -> bool:
    """Whether the time that its programs take here is that of machine code, and of no emulator."""
    runner = target.runner
    return runner is not None and (runner.compiles or runner.argv[0] == "{artifact}")


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
        try:
            return parse_target(path.read_text(encoding="utf-8"), path.stem, str(path))
        except UnicodeDecodeError as error:
            raise LlgenError(f"'{path}' is not UTF-8 text at byte {error.start}") from error
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
        raise LlgenError(f"'{source}' is not valid TOML: {error}", "doc/adding-a-target.md shows one") from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        reason = first["msg"].removeprefix("Value error, ")
        what = "is not a key of a target file" if first["type"] == "extra_forbidden" else f"is wrong: {reason}"
        raise LlgenError(f"'{source}': {key or 'the whole'} {what}", "doc/adding-a-target.md lists the keys") from error


_HOSTS = ("x86_64_avx512vnni", "x86_64_vnni", "x86_64_v3")
"""Targets for PCs with AVX2, the fastest first."""


def _host() -> str:
    machine = platform.machine().lower()
    if machine in ("x86_64", "amd64"):
        flags = cpu_flags()
        for name in _HOSTS:
            runner = load_target(name).runner
            if "avx2" in flags and runner is not None and flags.issuperset(runner.cpu_flags):
                return name
        return "x86_64"
    return "generic"


def cpu_flags() -> set[str]:
    """What Linux says of the first processor; empty elsewhere, and so the safe choice is made."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return set()
    for line in lines:
        if line.startswith("flags"):
            return set(line.split(":", 1)[1].split())
    return set()
