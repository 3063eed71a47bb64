"""Counting the instructions per token: a number without noise, for emulated machines and for this one.

Each method runs the program with `--bench`, which only decodes greedily, or `--prefill`, and subtracts the instructions
that the program needs besides. An emulated instruction is not a cycle: compare numbers of one target, not of several.
"""

from __future__ import annotations

import bisect
import hashlib
import os
import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path
from typing import Literal

from elftools.elf.elffile import ELFFile

from llgen.errors import LlgenError
from llgen.targets.schema import Runner, Target

from ..compile.toolchain import Artifact, cache_directory, host_cc, run_tool
from ..render.short_names import INTERNAL
from .death import death
from .emulator import missing_emulator
from .runner import BENCH_OPTIONS, command


def instructions_per_token(
    artifact: Artifact, positions: int, kind: Literal["decode", "prefill"] = "decode"
) -> float | None:
    """Mean over the positions 0 to `positions` - 1; None when instructions cannot be counted.

    `uncountable` says why. Raises LlgenError when the program fails.
    """
    target = artifact.target
    if uncountable(artifact) is not None or target.runner is None:
        return None
    counter = target.runner.counter
    if counter in ("icount", "plugin"):
        plugin = str(_plugin(target.runner.argv[0]))
        way = _Way(r"^instructions (\d+)$", options=("-plugin", plugin))
        clock = _address(artifact, "port_ticks") if counter == "icount" else None
        if clock is not None:
            # What the clock says is no measure: an emulated machine has its own speed, whatever the target says.
            # But the program asks it when its work begins and when it ends. Time goes by instructions, so that
            # interrupts come at the same ones in every run.
            options = ("-icount", "shift=0", "-plugin", f"{plugin},clock={clock:#x}")
            return _count(artifact, kind, positions, _Way(r"^between (\d+)$", options=options)) / positions
    elif counter == "fuel":
        way = _Way(r"^fuel (\d+)$", environment={"LLGEN_FUEL": "1"})
    else:
        valgrind = ("valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null")
        way = _Way(r"Collected\s*:\s*(\d+)", prefix=valgrind)
    return (_count(artifact, kind, positions, way) - _count(artifact, kind, 0, way)) / positions


def profile(artifact: Artifact, positions: int) -> dict[str, float]:
    """Instructions per token by function, the largest first: the mean over the positions 0 to `positions` - 1.

    A static function is listed by its short name.

    Empty when no QEMU runs the program (`unprofiled` says why), or when the program holds no names.
    Raises LlgenError when it fails.
    """
    runner = _profiler(artifact.target)
    if runner is None or unprofiled(artifact.target):
        return {}
    artifact = Artifact(artifact.path, artifact.target.model_copy(update={"runner": runner}))
    addresses, names = _functions(artifact)
    if not names:
        return {}
    way = _Way("", options=("-plugin", f"{_plugin(runner.argv[0])},blocks=on"))
    found: dict[str, float] = {}
    for count, sign in ((positions, 1), (0, -1)):
        for address, instructions in re.findall(
            r"^block ([0-9a-f]+) (\d+)$", _said(artifact, "decode", count, way), re.MULTILINE
        ):
            at = bisect.bisect_right(addresses, int(address, 16)) - 1
            name = names[at].partition(INTERNAL)[2] or names[at] if at >= 0 else "?"
            found[name] = found.get(name, 0.0) + sign * int(instructions) / positions
    return {name: count for name, count in sorted(found.items(), key=lambda item: -item[1]) if count >= 1.0}


def unprofiled(target: Target) -> str | None:
    """The reason why there is no profile for a target's programs; None when there is one."""
    runner = _profiler(target)
    if runner is None:
        return f"no profile: no QEMU runs programs for '{target.name}'"
    return missing_emulator(target.model_copy(update={"runner": runner}))


def _profiler(target: Target) -> Runner | None:
    """The QEMU that makes a profile: the target's own; for programs of a PC, the QEMU that emulates a PC."""
    runner = target.runner
    if runner is not None and runner.counter == "callgrind" and platform.machine().lower() in ("x86_64", "amd64"):
        return Runner(argv=("qemu-x86_64", "-cpu", "max", "{artifact}"), package="qemu-user", counter="plugin")
    return runner if runner is not None and runner.counter in ("icount", "plugin") else None


def _functions(artifact: Artifact) -> tuple[list[int], list[str]]:
    """The addresses and names of a program's functions, in ascending order; empty when its names were removed."""
    with artifact.path.open("rb") as stream:
        table = ELFFile(stream).get_section_by_name(".symtab")
        if table is None:
            return [], []
        # The lowest bit of an address in Thumb code is no part of it.
        thumb = int(artifact.target.firmware is not None and artifact.target.firmware.core == "cortex_m")
        symbols = [s for s in table.iter_symbols() if s["st_info"]["type"] == "STT_FUNC"]
        pairs = sorted({symbol["st_value"] & ~thumb: symbol.name for symbol in symbols}.items())
    return [address for address, _ in pairs], [name for _, name in pairs]


def _address(artifact: Artifact, name: str) -> int | None:
    """The address at which a function begins; None when its name was removed."""
    addresses, names = _functions(artifact)
    return addresses[names.index(name)] if name in names else None


def uncountable(artifact: Artifact) -> str | None:
    """The reason why a program's instructions cannot be counted here; None when they can."""
    runner = artifact.target.runner
    if runner is None or runner.counter is None:
        return f"no way to count instructions is known for '{artifact.target.name}'"
    if runner.counter == "callgrind" and shutil.which("valgrind") is None:
        return "'valgrind' is not installed; apt-get install valgrind"
    if runner.counter == "fuel" and (old := _old_wasmtime()):
        return f"wasmtime {old} counts a memory.copy as one instruction, {WASMTIME} one a byte; pip install -U wasmtime"
    if runner.counter in ("icount", "plugin") and not _takes_plugins(runner.argv[0]):
        return f"this '{runner.argv[0]}' takes no plugins, which count instructions"
    return None


@dataclass(frozen=True)
class _Way:
    """How a run reports the number of instructions."""

    pattern: str
    """Finds the number in the standard error."""
    options: Sequence[str] = ()
    """Options of the emulator."""
    prefix: Sequence[str] = ()
    """Words before the command."""
    environment: Mapping[str, str] = field(default_factory=dict)


def _count(artifact: Artifact, kind: str, positions: int, way: _Way) -> int:
    said = _said(artifact, kind, positions, way)
    found = re.search(way.pattern, said, re.MULTILINE)
    if found is None:
        raise LlgenError(f"counting instructions failed: '{artifact.path.name}' said {said[-500:]!r}")
    return int(found[1])


def _said(artifact: Artifact, kind: str, positions: int, way: _Way) -> str:
    """The standard error of a run."""
    words = [*way.prefix, *command(artifact, [BENCH_OPTIONS[kind], str(positions)], way.options)]
    environment = {**os.environ, **way.environment}
    done = subprocess.run(words, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    said = done.stderr.decode("utf-8", errors="replace")
    if done.returncode != 0:
        if (ended := death(done.returncode, artifact.target)) is not None:
            raise LlgenError(f"counting instructions failed: '{artifact.path.name}' {ended[0]}", ended[1])
        raise LlgenError(f"counting instructions failed: {' '.join(words)}\n{said[-500:]}")
    return said


WASMTIME = 46
"""The first major version whose fuel counts a memory.copy, memory.fill or memory.grow by its size."""


def _old_wasmtime() -> str | None:
    """The version of wasmtime, when it is too old to count; None when it is new enough or not installed."""
    try:
        found = version("wasmtime")
    except PackageNotFoundError:
        return None
    return found if int(found.partition(".")[0]) < WASMTIME else None


@cache
def _takes_plugins(emulator: str) -> bool:
    """Whether a QEMU was built with plugins; True when it is not installed, which `missing_emulator` reports."""
    if shutil.which(emulator) is None:
        return True
    return "-plugin" in subprocess.run([emulator, "--help"], capture_output=True, text=True, check=False).stdout


def _plugin(emulator: str) -> Path:
    """The counting plugin, compiled for the installed QEMU and kept in the cache."""
    source = (files("llgen.templates") / "tools" / "count_plugin.c").read_bytes()
    version = _plugin_version(emulator)
    key = hashlib.sha256(source + bytes([version])).hexdigest()[:16]
    path = cache_directory() / "plugins" / f"count-{key}.so"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as temporary:
            folder = Path(temporary)
            (folder / "count_plugin.c").write_bytes(source)
            flags = ["-O2", "-shared", "-fPIC", "-fno-sanitize=undefined", f"-DPLUGIN_VERSION={version}"]
            run_tool([*host_cc(), *flags, "-o", "count.so", "count_plugin.c"], folder)
            (folder / "count.so").replace(path)
    return path


def _plugin_version(emulator: str) -> int:
    """The version of the plugin interface: 1 up to QEMU 8.1, then 2, which QEMU 9 and later require at least."""
    text = subprocess.run([emulator, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"version (\d+)\.(\d+)", text)
    return 1 if found and (int(found[1]), int(found[2])) < (8, 2) else 2
