"""The program around a model on a given target: which files it takes, how it is linked, and the words of its templates.

The model itself is the same C everywhere; what differs is the port, and on a bare machine the way from reset to main.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from llgen.targets.schema import Firmware, Target

from .plan import WORD_ROOM

COMMAND_BYTES = 1024
"""Room for the command line on a bare machine."""

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


@dataclass(frozen=True)
class RegionWords:
    padded_name: str
    origin: str
    length: str


@dataclass(frozen=True)
class MachineWords:
    """Fields of the templates of a bare machine."""

    regions: Sequence[RegionWords]
    code_region: str
    weights_region: str
    data_region: str
    state_region: str
    stack_bytes: int
    command_bytes: int
    fpu: bool
    caches: bool
    startup_core: str
    """The template of the start-up code's part that only this kind of core has."""
    semihosting_call: str


def compile_flags(target: Target) -> tuple[str, ...]:
    """The flags that any compiler needs for a target."""
    return (*(() if target.stdio == "hosted" else FREESTANDING_FLAGS), *target.compiler.cflags)


def link_flags(target: Target, *, names: bool = False) -> tuple[str, ...]:
    """The flags that make a program of objects, in the folder of the generated files.

    With `names` a program keeps those of its functions, and stands in memory where they say.
    """
    flags = tuple("-no-pie" if flag == "-s" and names else flag for flag in _LINK_FLAGS[target.stdio])
    return (*flags, *target.compiler.ldflags)


def makefile_link_flags(target: Target) -> tuple[str, ...]:
    """Those of them that any linker needs; what makes a host's program smaller is zig's alone to understand."""
    return target.compiler.ldflags if target.stdio == "hosted" else link_flags(target)


def program_sources(target: Target) -> tuple[str, ...]:
    """The C files that make a program of the model."""
    return ("main.c", "port.c", *(("startup.c", "memory.c") if target.firmware else ()))


def program_templates(target: Target) -> Mapping[str, str]:
    """Path -> template of the files around the model, main.c apart."""
    templates = {"port.h": "ports/port.h.j2", "port.c": f"ports/{target.stdio}.c.j2"}
    if target.stdio == "web":
        templates["run.mjs"] = "ports/run.mjs.j2"
    if target.firmware:
        names = ("firmware.h", "startup.c", "memory.c", "memory.ld")
        templates |= {name: f"firmware/{name}.j2" for name in names}
    return templates


def ticks_a_second(target: Target) -> int:
    """What a program's clock counts a second: nanoseconds where there is an operating system."""
    return target.firmware.clock_hz if target.firmware else 10**9


def input_bytes(target: Target, context: int) -> int:
    """Room for a prompt that comes through standard input: ample on a host, where it costs nothing until it is used."""
    return 1 << 20 if target.stdio == "hosted" else 8 * context + 64


def program_ram(target: Target, context: int, has_tokenizer: bool) -> int:
    """Bytes that the program's own variables take beside the model's state, rounded up generously."""
    prompt = 4 * (context + WORD_ROOM) + (input_bytes(target, context) if has_tokenizer else 0)
    return prompt + COMMAND_BYTES + 1024


def machine_words(firmware: Firmware) -> MachineWords:
    """Spell out a bare machine's facts in C's words."""
    width = max(len(region.name) for region in firmware.memory)
    regions = [
        RegionWords(region.name.ljust(width), f"0x{region.origin:08X}", f"0x{region.length:08X}")
        for region in firmware.memory
    ]
    return MachineWords(
        regions=regions,
        code_region=firmware.region("code").name,
        weights_region=firmware.region("weights").name,
        data_region=firmware.region("data").name,
        state_region=firmware.region("state").name,
        stack_bytes=firmware.stack_bytes,
        command_bytes=COMMAND_BYTES,
        fpu=firmware.fpu,
        caches=firmware.caches,
        startup_core=f"firmware/startup_{firmware.core}.c.j2",
        semihosting_call=f"firmware/semihosting_{firmware.core}.c.j2",
    )
