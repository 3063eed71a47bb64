"""What a target file may say, and how one is found and checked."""

from __future__ import annotations

import os
import platform
import tomllib
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from llgen.errors import LlgenError, UsageError, closest, did_you_mean, unknown_name
from llgen.lfs import refuse_pointer_file
from llgen.paths import Pathlike
from llgen.shown import shown, shown_error
from llgen.targets.instruction_sets import require_known

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
    libc_cpu: str | None = None
    """The -mcpu of the C library; none for `cpu`. Targets with the same triple share a library when this is the same,
    and zig needs a minute to build one."""
    cflags: tuple[str, ...] = ()
    """Flags that any compiler needs for this target; they stand in the generated Makefile too."""
    ldflags: tuple[str, ...] = ()
    """Flags of the linker; they stand in the generated Makefile too."""
    gcc: tuple[str, ...] = ()
    """The command of a GCC that makes the same program, with the flags that name the part; the Makefile tells it."""
    gcc_libraries: tuple[str, ...] = ()
    """What that GCC must link besides."""


class Runner(_Facts):
    """How a program for a target is started on this machine."""

    argv: tuple[str, ...] = Field(min_length=1)
    """The words before the program's own arguments; {artifact} is the program, {python} this Python, {directory} the
    folder of the program."""
    package: str | None = None
    """The Debian package that contains the first word, if the first word is an emulator."""
    python_package: str | None = None
    """The Python package that runs the program, if there is one."""
    cpu_flags: tuple[str, ...] = ()
    """Flags of Linux's /proc/cpuinfo that the processor must have when this machine runs the program itself."""
    compiles: bool = False
    """Whether the runner compiles the program to machine code of this machine, so that its time is meaningful."""
    counter: Literal["callgrind", "plugin", "icount", "fuel"] | None = None
    """How instructions are counted: by valgrind, by a plugin of QEMU's user mode, in a QEMU machine whose clock counts
    instructions, or as wasmtime's fuel. None: not at all."""


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
    """Ticks a second of the board's timer: SysTick on the processor's clock, or the cycle counter. No figure of an
    emulated run goes by it, for the emulator's clock is another."""
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
    source: str | None = Field(default=None, exclude=True)
    """The file that it was read from, for messages; None: llgen ships it. It decides nothing."""
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

    @property
    def is_module(self) -> bool:
        """Programs are WebAssembly modules, whose one memory holds state, weights, stack and all else."""
        return (self.compiler.triple or "").startswith("wasm")

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


def load_target(name: Pathlike) -> Target:
    """The target of that name, or in that TOML file; `host` is the best target for this machine.

    Raises UsageError when there is none, LlgenError when the file breaks the schema.
    """
    name = os.fspath(name)
    if name == "host":
        name = _host()
    if name.endswith(".toml"):
        path = Path(name)
        if not path.is_file():
            beside = sorted(other.name for other in path.parent.glob("*.toml")) if path.parent.is_dir() else []
            raise UsageError(
                f"there is no target file '{name}'{did_you_mean(path.name, beside)}",
                "`llgen targets` lists those that need no file",
                {"value": name, "did_you_mean": closest(path.name, beside)},
            )
        refuse_pointer_file(path)
        try:
            target = parse_target(path.read_text(encoding="utf-8"), path.stem, str(path))
            return _with_known_gcc(target).model_copy(update={"source": str(path)})
        except UnicodeDecodeError as error:
            raise LlgenError(f"'{path}' is not UTF-8 text at byte {error.start}") from error
    if name not in target_names():
        raise unknown_name("target", name, ["host", *target_names()], "`llgen targets` lists them")
    text = (files(__package__) / f"{name}.toml").read_text(encoding="utf-8")
    return parse_target(text, name, f"{name}.toml")


def _with_known_gcc(target: Target) -> Target:
    """A board that names no GCC has that of the core which it has: llgen's own target of the same triple and cpu."""
    compiler = target.compiler
    if compiler.gcc or compiler.triple is None:
        return target
    for name in target_names():
        core = load_target(name).compiler
        if core.gcc and (core.triple, core.cpu) == (compiler.triple, compiler.cpu):
            known = {"gcc": core.gcc, "gcc_libraries": core.gcc_libraries}
            return target.model_copy(update={"compiler": compiler.model_copy(update=known)})
    return target


def target_names() -> list[str]:
    """The targets that llgen ships, in alphabetical order."""
    return sorted(
        entry.name.removesuffix(".toml") for entry in files(__package__).iterdir() if entry.name.endswith(".toml")
    )


def parse_target(text: str, name: str, source: str) -> Target:
    """Check the text of a target file; `source` is for messages."""
    try:
        given = tomllib.loads(text)
        if "source" in given:
            raise LlgenError(
                f"'{source}': source is not a key of a target file", "doc/adding-a-target.md lists the keys"
            )
        target = Target.model_validate({"name": name, **given})
    except tomllib.TOMLDecodeError as error:
        raise LlgenError(
            f"'{source}' is not valid TOML: {shown_error(error)}", "doc/adding-a-target.md shows one"
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        reason = first["msg"].removeprefix("Value error, ")
        what = (
            "is not a key of a target file" if first["type"] == "extra_forbidden" else f"is wrong: {shown(reason, 200)}"
        )
        raise LlgenError(
            f"'{source}': {shown(key) or 'the whole'} {what}", "doc/adding-a-target.md lists the keys"
        ) from error
    try:
        require_known(target.isa)
    except LlgenError as error:
        raise LlgenError(f"'{source}': {error.message}", error.hint, facts=error.facts) from error
    return target


_HOSTS = ("x86_64_avx512vnni", "x86_64_vnni", "x86_64_v3")
"""Targets for PCs with AVX2, the fastest first."""


def _host() -> str:
    machine = platform.machine().lower()
    if machine in ("x86_64", "amd64"):
        flags = cpu_flags() or frozenset()  # of a machine that does not tell, the least is expected
        for name in _HOSTS:
            runner = load_target(name).runner
            if runner is not None and flags.issuperset(runner.cpu_flags):
                return name
        return "x86_64"
    return "generic"


def cpu_flags() -> frozenset[str] | None:
    """What the first processor has, in the words of Linux's /proc/cpuinfo; None elsewhere.

    LLGEN_CPU_FLAGS, such words with spaces between, is a mask: what it does not name counts as missing.
    """
    flags = _detected_flags()
    mask = os.environ.get("LLGEN_CPU_FLAGS")
    return flags if flags is None or mask is None else flags & frozenset(mask.split())


def _detected_flags() -> frozenset[str] | None:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith("flags"):
            return frozenset(line.split(":", 1)[1].split())
    return None
