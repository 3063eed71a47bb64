"""Compiles a generated folder with `zig cc`."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import platformdirs

from llgen.errors import ExitCode, LlgenError
from llgen.targets.schema import Target
from llgen.whole import UNFINISHED

from ..words.flags import NUMERIC_FLAGS, compile_flags, link_flags

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
"""The generated C has no warnings under these flags with gcc and clang."""

# zig turns the undefined-behaviour sanitizer on by itself at low optimisation; its runtime is no part of a release.
_ZIG_LINK_FLAGS = ("-fno-sanitize=undefined",)
_ZIG_FLAGS = (*_ZIG_LINK_FLAGS, "-g0", "-fstack-size-section")

# A section a function: the linker drops what is not used, and the call graph can be read from the relocations.
_SECTION_FLAGS = ("-ffunction-sections", "-fdata-sections")


@dataclass(frozen=True)
class Artifact:
    """A compiled program."""

    path: Path
    target: Target


def cache_directory() -> Path:
    """Folder of compiled parts of libc and of results that take long to compute; LLGEN_CACHE_DIR changes it."""
    return Path(os.environ.get("LLGEN_CACHE_DIR") or platformdirs.user_cache_dir("llgen"))


def zig_environment() -> dict[str, str]:
    """The environment for zig: its caches are in llgen's cache folder, unless the user has set other folders."""
    zig_cache = cache_directory() / "zig"
    return {"ZIG_GLOBAL_CACHE_DIR": str(zig_cache), "ZIG_LOCAL_CACHE_DIR": str(zig_cache / "local"), **os.environ}


@cache
def zig() -> tuple[str, ...]:
    """The command of zig: the program inside the package ziglang, which `python -m ziglang` would start as well.

    Python would take as long to start as zig takes for a small file. It is asked only where the program is not found.
    """
    package = find_spec("ziglang")
    for folder in () if package is None else package.submodule_search_locations or ():
        program = Path(folder, "zig.exe" if os.name == "nt" else "zig")
        if program.is_file():
            return (str(program),)
    return (sys.executable, "-m", "ziglang")


def host_cc() -> list[str]:
    """The compiler's command for this machine."""
    return [*zig(), "cc"]


def zig_cc(target: Target, cpu: str | None = None) -> list[str]:
    """The compiler's command for a target, without llgen's own flags; `cpu` replaces the target's processor."""
    command = host_cc()
    if target.compiler.triple is not None:
        command += ["-target", target.compiler.triple]
    cpu = target.compiler.cpu if cpu is None else cpu
    if cpu is not None:
        command += [f"-mcpu={cpu}"]
    return command


def optimisation(target: Target, source: str) -> str:
    """The optimisation of a generated file: on a bare machine, all files except the network are compiled for size."""
    return "-O3" if target.firmware is None or source.endswith("_forward.c") else "-Os"


def compile_objects(
    directory: Path,
    sources: Sequence[str],
    target: Target,
    output: Path,
    optimise: str | None = None,
    compiler: Sequence[str] | None = None,
) -> list[Path]:
    """Compile the sources of a generated folder into object files in `output`; every warning is an error.

    `optimise` replaces the flag from `optimisation`; `compiler`, the command of another C compiler, replaces zig.
    Raises LlgenError with the command and the compiler's message when compiling fails.
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
    """Link objects into a program; its linker script is beside `output`. `names` keeps the names of functions.

    Raises LlgenError, and leaves no program, when linking fails.
    """
    libraries = () if compiler is None else target.compiler.gcc_libraries
    if compiler is None:
        compiler = [*zig_cc(target, target.compiler.libc_cpu), *_ZIG_LINK_FLAGS]
    output.unlink(missing_ok=True)
    command = [*compiler, "-o", str(output.resolve()), *map(str, objects), *link_flags(target, names=names), *libraries]
    try:
        run_tool(command, output.parent)
    except LlgenError as error:
        output.unlink(missing_ok=True)
        if "will not fit in region" in error.message or "overflowed by" in error.message:  # the words of lld and GNU ld
            raise LlgenError(error.message, "a smaller model or --context", ExitCode.DOES_NOT_FIT) from error
        raise
    _remember_libc(target)
    return Artifact(output, target)


def first_use(target: Target) -> str:
    """A remark about the time that the first program of a target takes; empty for later programs."""
    if target.stdio != "hosted" or target.compiler.triple is None or _libc_mark(target).exists():
        return ""
    return f"; zig builds the C library of {target.compiler.triple}, once, about a minute"


def _libc_mark(target: Target) -> Path:
    """A file that exists when a program was already linked with the same C library."""
    name = f"{target.compiler.triple}-{target.compiler.libc_cpu or target.compiler.cpu or 'baseline'}"
    return Path(zig_environment()["ZIG_GLOBAL_CACHE_DIR"]) / "llgen-has-libc" / name


def _remember_libc(target: Target) -> None:
    if first_use(target):
        mark = _libc_mark(target)
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()


def require_caches() -> None:
    """Raise LlgenError when zig cannot write its caches: zig would wait for ever."""
    for name in ("ZIG_GLOBAL_CACHE_DIR", "ZIG_LOCAL_CACHE_DIR"):
        folder = Path(zig_environment()[name])
        try:
            folder.mkdir(parents=True, exist_ok=True)
            writable = os.access(folder, os.W_OK)
        except OSError:
            writable = False
        if not writable:
            raise LlgenError(f"the cache folder '{folder}' cannot be written", f"set LLGEN_CACHE_DIR, or {name}")


_NO_SPACE = re.compile(r"No space left|NoSpaceLeft|[Qq]uota|FileTooBig|File too large|Disk ?Full", re.ASCII)
"""Messages of compilers, linkers and zig about a full disk."""
_TOO_LARGE_A_FILE = (-25, 128 + 25)
"""Exit codes of a process that SIGXFSZ ended on Linux, macOS and the BSDs, directly or through a shell."""
_NEXT_TO_NOTHING = 64 << 10


def _refuse_full_disk(words: str, code: int, directory: Path) -> None:
    """Raise LlgenError when a compiler failed because it could not write its output, even without a message."""
    caches = [Path(zig_environment()[name]) for name in ("ZIG_GLOBAL_CACHE_DIR", "ZIG_LOCAL_CACHE_DIR")]
    own = directory.parent if directory.name.startswith(UNFINISHED) else directory
    places = {place: shutil.disk_usage(place) for place in (own, *caches, Path(tempfile.gettempdir()))}
    place, usage = min(places.items(), key=lambda item: item[1].free)
    if code in _TOO_LARGE_A_FILE or _NO_SPACE.search(words) or ("error" not in words and usage.free < _NEXT_TO_NOTHING):
        raise LlgenError(
            "the compiler had no room for what it writes:"
            f" {usage.free:,} of {usage.total:,} bytes are free where '{place}' is",
            "make room there, or LLGEN_CACHE_DIR elsewhere; `ulimit -f` says how large a file may be",
        )


def run_tool(command: Sequence[str], directory: Path) -> str:
    """Run a compiler; returns its output. Raises LlgenError with the command and its message when it fails."""
    require_caches()
    try:
        done = subprocess.run(
            command,
            cwd=directory,
            env=zig_environment(),
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            restore_signals=False,  # SIGXFSZ stays ignored: a compiler then says that a file is too large
        )
    except OSError as error:
        raise LlgenError(
            f"cannot start '{command[0]}': {error.strerror}", "`llgen doctor` says what is missing"
        ) from error
    if done.returncode != 0:
        words = (done.stderr or done.stdout).strip()
        _refuse_full_disk(words, done.returncode, directory)
        raise LlgenError(f"the compiler failed: {' '.join(command)}\n{words}", "`llgen doctor` checks the toolchain")
    return done.stdout
