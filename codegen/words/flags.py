"""The options that a compiler and a linker need for a target's program."""

from __future__ import annotations

from llgen.targets.schema import Target

from ..plan.program import MODULE_STACK_BYTES

NUMERIC_FLAGS = ("-std=c11", "-ffp-contract=off", "-fno-math-errno")
"""What keeps the bits the same under every compiler; part of the generated Makefile."""

FREESTANDING_FLAGS = (
    "-ffreestanding",
    "-fomit-frame-pointer",
    "-ffunction-sections",
    "-fdata-sections",
    "-fno-unwind-tables",
    "-fno-asynchronous-unwind-tables",
)
"""For targets without an operating system; the linker script places variables by their sections' names."""

_LINK_FLAGS = {
    "hosted": ("-Wl,--gc-sections", "-s"),
    "semihosting": (
        "-Wl,--gc-sections",
        "-nostartfiles",
        "-T",
        "memory.ld",
        "-Wl,-e,reset",
        "-Wl,-z,max-page-size=4",
    ),
    "web": ("-Wl,--gc-sections", "-s", "-Wl,--no-entry"),
}


def compile_flags(target: Target) -> tuple[str, ...]:
    """The flags that any compiler needs for a target."""
    return (*(() if target.stdio == "hosted" else FREESTANDING_FLAGS), *target.compiler.cflags)


def link_flags(target: Target, *, names: bool = False) -> tuple[str, ...]:
    """The flags that make a program of objects, in the folder of the generated files.

    With `names` a program keeps those of its functions, and stands in memory where they say.
    """
    flags = tuple("-no-pie" if flag == "-s" and names else flag for flag in _LINK_FLAGS[target.stdio])
    return (*flags, *_own_link_flags(target))


def _own_link_flags(target: Target) -> tuple[str, ...]:
    """Those of the target, which may take back what every module gets."""
    module = (f"-Wl,-z,stack-size={MODULE_STACK_BYTES}",) if target.is_module else ()
    return (*module, *target.compiler.ldflags)


def makefile_link_flags(target: Target) -> tuple[str, ...]:
    """Those of them that any linker needs; what makes a host's program smaller is zig's alone to understand."""
    return _own_link_flags(target) if target.stdio == "hosted" else link_flags(target)


def computes_floats_on_arm(target: Target) -> bool:
    """Whether the part is an Arm with a float unit. A compiler that is not told of it goes without, in silence."""
    triple = target.compiler.triple or ""
    has_unit = triple.endswith("hf") or (target.firmware is not None and target.firmware.fpu)
    return has_unit and triple.startswith(("arm", "thumb"))
