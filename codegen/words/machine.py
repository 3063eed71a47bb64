"""The program around a model on a given target: which files it takes, how it is linked, and the words of its templates.

The model itself is the same C everywhere; what differs is the port, and on a bare machine the way from reset to main.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from llgen.targets.schema import Firmware, Target

from ..plan.program import COMMAND_BYTES


@dataclass(frozen=True)
class RegionWords:
    padded_name: str
    origin: str
    length: str


@dataclass(frozen=True)
class Machine:
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


def machine(firmware: Firmware) -> Machine:
    """Fill the box."""
    width = max(len(region.name) for region in firmware.memory)
    regions = [
        RegionWords(region.name.ljust(width), f"0x{region.origin:08X}", f"0x{region.length:08X}")
        for region in firmware.memory
    ]
    return Machine(
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
