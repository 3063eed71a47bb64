"""The box of the Makefile: sources, options, and the commands of zig and GCC."""

from __future__ import annotations

from dataclasses import dataclass

from llgen.targets.schema import Target

from .decisions import Decisions
from .flags import NUMERIC_FLAGS, compile_flags, makefile_link_flags


@dataclass(frozen=True)
class Build:
    """What `make` needs."""

    cflags: str
    ldflags: str
    sources: str
    model_sources: str
    """The files that an embedder takes: all sources except those of the program."""
    zig_arguments: str
    """What follows the word `zig` in the command that `make` runs when no other compiler is named."""
    cross: bool
    """The machine's own `cc` cannot make this program."""
    has_gcc: bool
    gcc_command: str
    """The call of `make` that takes a GCC which can make this program."""
    artifact: str


def build(decided: Decisions) -> Build:
    """Fill the box."""
    target = decided.target
    return Build(
        cflags=" ".join([*NUMERIC_FLAGS, *compile_flags(target)]),
        ldflags=" ".join([*(["-pthread"] if decided.threads else []), *makefile_link_flags(target)]),
        sources=" ".join([*decided.sources, *decided.program]),
        model_sources=" ".join(decided.sources),
        zig_arguments=_zig_arguments(target),
        cross=target.compiler.triple is not None,
        has_gcc=bool(target.compiler.gcc),
        gcc_command=_gcc_command(target),
        artifact=decided.prefix + target.suffix,
    )


def _zig_arguments(target: Target) -> str:
    """What follows the word `zig` to compile for another machine; empty for this machine."""
    if target.compiler.triple is None:
        return ""
    cpu = [] if target.compiler.cpu is None else [f"-mcpu={target.compiler.cpu}"]
    return " ".join(["cc -target", target.compiler.triple, *cpu, "-fno-sanitize=undefined"])


def _gcc_command(target: Target) -> str:
    """How `make` is called to take GCC; empty when the target names none."""
    if not target.compiler.gcc:
        return ""
    libraries = f' LDLIBS="{" ".join(target.compiler.gcc_libraries)}"' if target.compiler.gcc_libraries else ""
    return f'make CC="{" ".join(target.compiler.gcc)}"{libraries}'
