"""llgen's own tools in C (templates/tools/), compiled for this machine by an installed compiler."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from llgen.errors import LlgenError
from llgen.targets.instruction_sets import select
from llgen.targets.schema import Target

from ..compile.toolchain import cache_directory, host_cc, run_tool
from .host import processor


@dataclass(frozen=True)
class NativeTool:
    """A compiled program, and how it was compiled."""

    program: Path
    compiler: str
    """The compiler's name and flags, as a person would type them."""
    isa: str
    """The widest vector instructions that these flags let the compiler use."""


@dataclass(frozen=True)
class _Compiler:
    """A way to call a compiler."""

    name: str
    words: tuple[str, ...]
    flags: tuple[str, ...]


_MARCH = {"avx512vnni": "x86-64-v4", "avx2": "x86-64-v3", "sse2": "x86-64"}
"""Instruction set of the float vocabulary -> the x86-64 psABI level that contains it, as a value of -march."""


def march_of(target: Target) -> str | None:
    """The -march that allows the vector instructions of a target's kernels; None: the compiler's default."""
    return _MARCH.get(select(target.isa).origin("float.h"))


def compile_tool(name: str, *, fast_math: bool, march: str | None = "native") -> NativeTool:
    """Compile tools/NAME.c with the first of gcc, clang and zig that succeeds; the cache keeps one program per
    compiler.

    With `fast_math` the compiler may reorder sums and fuse multiplications with additions; without it, it may do
    neither. Raises LlgenError with the output of the last compiler when all fail.
    """
    problem = LlgenError(f"there is no compiler for {name}.c", "apt-get install gcc")
    for compiler in _compilers(fast_math, march):
        try:
            program = _compiled(name, compiler)
        except LlgenError as error:
            problem = error
        else:
            return NativeTool(program, " ".join([compiler.name, *compiler.flags]), _instruction_set(compiler))
    raise problem


def _compilers(fast_math: bool, march: str | None) -> list[_Compiler]:
    """The installed compilers, in order of preference."""
    machine = () if march is None else (f"-march={march}",)
    speed = ("-Ofast",) if fast_math else ("-O3", "-ffp-contract=off")
    paths = [(name, shutil.which(name)) for name in ("gcc", "clang")]
    found = [_Compiler(name, (path,), (*speed, *machine)) for name, path in paths if path]
    # zig writes names of processors with underscores. Its -Ofast leaves fast-math off, and without fast-math the
    # yardstick is four times slower.
    speed = ("-O3", "-ffast-math") if fast_math else speed
    zig = [flag.replace("x86-64", "x86_64").replace("64-v", "64_v") for flag in machine]
    return [*found, _Compiler("zig cc", tuple(host_cc()), (*speed, *zig, "-fno-sanitize=undefined"))]


_VECTORS = {
    "__AVX512F__": "AVX-512",
    "__AVX2__": "AVX2",
    "__AVX__": "AVX",
    "__SSE2__": "SSE2",
    "__ARM_FEATURE_SVE": "SVE",
    "__ARM_NEON": "NEON",
}
"""Predefined macro of a compiler -> its vector instructions, the widest first."""


def _instruction_set(compiler: _Compiler) -> str:
    """The vector instructions that the compiler's predefined macros name."""
    with tempfile.TemporaryDirectory() as temporary:
        (Path(temporary) / "empty.c").touch()
        words = [*compiler.words, *compiler.flags, "-dM", "-E", "empty.c"]
        defined = run_tool(words, Path(temporary)).split()
    vectors = [name for macro, name in _VECTORS.items() if macro in defined][:1] or ["no vectors"]
    return ", ".join([*vectors, *(["FMA"] if "__FMA__" in defined or "__ARM_FEATURE_FMA" in defined else [])])


def _compiled(name: str, compiler: _Compiler) -> Path:
    source = (files("llgen.templates") / "tools" / f"{name}.c").read_bytes()
    command: Sequence[str] = [*compiler.words, "-std=c11", *compiler.flags]
    # The program is for this processor; another machine that uses the same cache may have another processor.
    key = hashlib.sha256(source + "\0".join([*command, processor()]).encode()).hexdigest()[:16]
    path = cache_directory() / "tools" / f"{name}-{key}"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as temporary:
            folder = Path(temporary)
            (folder / f"{name}.c").write_bytes(source)
            run_tool([*command, "-o", name, f"{name}.c", "-lm", "-pthread"], folder)
            (folder / name).replace(path)
    return path
