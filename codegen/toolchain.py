"""Compiling a generated folder with `zig cc`, and measuring what came out."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from llgen.targets.schema import Target

from .errors import ExitCode, LlgenError
from .machine import compile_flags, link_flags
from .write import unfinished

NUMERIC_FLAGS = ("-std=c11", "-ffp-contract=off", "-fno-math-errno")
"""What keeps the bits the same under every compiler; part of the generated Makefile."""

WARNING_FLAGS = (
    "-Wall",
    "-Wextra",
    "-Wpedantic",
    "-Wconversion",
    "-Wsign-conversion",
    "-Wshadow",
    "-Wdouble-promotion",
    "-Wcast-qual",
    "-Wundef",
    "-Werror",
)
"""Under these the generated C is clean with gcc and clang."""

# zig turns the undefined-behaviour sanitizer on by itself at low optimisation; its runtime is no part of a release.
_ZIG_FLAGS = ("-fno-sanitize=undefined", "-g0", "-fstack-size-section")

# A section a function: the linker drops what is not used, and the call graph can be read from the relocations.
_SECTION_FLAGS = ("-ffunction-sections", "-fdata-sections")


@dataclass(frozen=True)
class Artifact:
    """A compiled program."""

    path: Path
    target: Target


def cache_directory() -> Path:
    """Where compiled pieces of libc and results that are dear to compute are kept; LLGEN_CACHE_DIR moves it."""
    return Path(os.environ.get("LLGEN_CACHE_DIR") or platformdirs.user_cache_dir("llgen"))


def zig_environment() -> dict[str, str]:
    """The environment for zig: its caches where llgen's are, unless the user has placed them."""
    zig_cache = cache_directory() / "zig"
    return {"ZIG_GLOBAL_CACHE_DIR": str(zig_cache), "ZIG_LOCAL_CACHE_DIR": str(zig_cache / "local"), **os.environ}


def host_cc() -> list[str]:
    """The compiler's command for the machine at hand."""
    return [sys.executable, "-m", "ziglang", "cc"]


def zig_cc(target: Target) -> list[str]:
    """The compiler's command for a target, without flags of llgen's own."""
    command = host_cc()
    if target.compiler.triple is not None:
        command += ["-target", target.compiler.triple]
    if target.compiler.cpu is not None:
        command += [f"-mcpu={target.compiler.cpu}"]
    return command


def optimisation(target: Target, source: str) -> str:
    """How hard a file of a generated folder is optimised: on a bare machine all but the network is made small."""
    return "-O3" if target.firmware is None or source.endswith("_forward.c") else "-Os"


def compile_objects(
    directory: Path,
    sources: Sequence[str],
    target: Target,
    output: Path,
    optimise: str | None = None,
    compiler: Sequence[str] | None = None,
) -> list[Path]:
    """Compile the sources of a generated folder into object files in `output`, every warning an error.

    `optimise` takes the place of what `optimisation` says; `compiler` that of zig: another C compiler's command.
    Raises LlgenError with the command and the compiler's words when that fails.
    """
    if compiler is None:
        compiler = [*zig_cc(target), *_ZIG_FLAGS]
    flags = [*NUMERIC_FLAGS, *WARNING_FLAGS, *_SECTION_FLAGS, *compile_flags(target)]
    objects = [(output / source).with_suffix(".o").resolve() for source in sources]

    def compile_one(source: str, path: Path) -> None:
        run_tool(
            [*compiler, optimise or optimisation(target, source), *flags, "-c", source, "-o", str(path)], directory
        )

    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        list(pool.map(compile_one, sources, objects))
    return objects


def link(
    objects: Sequence[Path],
    target: Target,
    output: Path,
    compiler: Sequence[str] | None = None,
    *,
    names: bool = False,
) -> Artifact:
    """Link objects into a program, which replaces `output` when it is complete; a linker script stands beside it.

    With `names` it keeps those of its functions.
    """
    libraries = () if compiler is None else target.compiler.gcc_libraries
    if compiler is None:
        compiler = zig_cc(target)
    temporary = unfinished(output).resolve()
    command = [*compiler, "-o", str(temporary), *map(str, objects), *link_flags(target, names=names), *libraries]
    try:
        run_tool(command, output.parent)
        temporary.replace(output)
        _remember_libc(target)
    except LlgenError as error:
        if "will not fit in region" in error.message or "overflowed by" in error.message:  # the words of lld and GNU ld
            raise LlgenError(error.message, "a smaller model or --context", ExitCode.DOES_NOT_FIT) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)
    return Artifact(output, target)


def first_use(target: Target) -> str:
    """What a person should know before waiting for the first program of a target; empty later."""
    if target.stdio != "hosted" or target.compiler.triple is None or _libc_mark(target).exists():
        return ""
    return f"; zig builds the C library of {target.compiler.triple}, once, about a minute"


def _libc_mark(target: Target) -> Path:
    """A file that stands when a program has been linked for the same machine and C library."""
    name = f"{target.compiler.triple}-{target.compiler.cpu or 'baseline'}"
    return Path(zig_environment()["ZIG_GLOBAL_CACHE_DIR"]) / "llgen-has-libc" / name


def _remember_libc(target: Target) -> None:
    if first_use(target):
        mark = _libc_mark(target)
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()


def _require_caches() -> None:
    """Raise LlgenError when zig could not write its caches: it would wait for ever."""
    for name in ("ZIG_GLOBAL_CACHE_DIR", "ZIG_LOCAL_CACHE_DIR"):
        folder = Path(zig_environment()[name])
        try:
            folder.mkdir(parents=True, exist_ok=True)
            writable = os.access(folder, os.W_OK)
        except OSError:
            writable = False
        if not writable:
            raise LlgenError(f"the cache folder '{folder}' cannot be written", f"set LLGEN_CACHE_DIR, or {name}")


def run_tool(command: Sequence[str], directory: Path) -> str:
    """Run a compiler; returns what it printed. Raises LlgenError with the command and its words when it fails."""
    _require_caches()
    try:
        done = subprocess.run(
            command, cwd=directory, env=zig_environment(), capture_output=True, text=True, errors="replace", check=False
        )
    except OSError as error:
        raise LlgenError(
            f"cannot start '{command[0]}': {error.strerror}", "`llgen doctor` says what is missing"
        ) from error
    if done.returncode != 0:
        words = (done.stderr or done.stdout).strip()
        raise LlgenError(f"the compiler failed: {' '.join(command)}\n{words}", "`llgen doctor` checks the toolchain")
    return done.stdout
