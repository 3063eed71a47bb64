"""Counting the instructions of a token: a figure without noise, for machines that are emulated and those that are not.

Each way runs the program's `--bench`, greedy decoding and nothing else, or `--prefill`, and takes off what the program
does besides.
An emulated instruction is no cycle: the figures compare programs on one target, and say little across targets.
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
from importlib.resources import files
from pathlib import Path
from typing import Literal

from elftools.elf.elffile import ELFFile

from llgen.targets.schema import Runner, Target

from .errors import LlgenError
from .runner import BENCH_OPTIONS, command, missing_emulator
from .toolchain import Artifact, cache_directory, host_cc, run_tool


def instructions_per_token(
    artifact: Artifact, positions: int, kind: Literal["decode", "prefill"] = "decode"
) -> float | None:
    """The mean over the positions 0 to `positions` - 1; None where instructions cannot be counted.

    `uncountable` says why. Raises LlgenError when the program fails.
    """
    target = artifact.target
    if uncountable(artifact) is not None or target.runner is None:
        return None
    counter = target.runner.counter
    if counter == "icount":
        assert target.firmware is not None
        # One instruction takes one nanosecond of the machine's time, which the program's own clock measures.
        ticks = _count(artifact, kind, positions, _Way(r"^ticks (\d+)$", options=("-icount", "shift=0")))
        return ticks * (1e9 / target.firmware.clock_hz) / positions
    if counter == "plugin":
        way = _Way(r"^instructions (\d+)$", options=("-plugin", str(_plugin(target.runner.argv[0]))))
    elif counter == "fuel":
        way = _Way(r"^fuel (\d+)$", environment={"LLGEN_FUEL": "1"})
    else:
        valgrind = ("valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null")
        way = _Way(r"Collected\s*:\s*(\d+)", prefix=valgrind)
    return (_count(artifact, kind, positions, way) - _count(artifact, kind, 0, way)) / positions


def profile(artifact: Artifact, positions: int) -> dict[str, float]:
    """Instructions of a token by function, most first: the mean over the positions 0 to `positions` - 1.

    Empty where no QEMU runs the program (`unprofiled` says why), or where the program keeps no names.
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
            name = names[at] if at >= 0 else "?"
            found[name] = found.get(name, 0.0) + sign * int(instructions) / positions
    return {name: count for name, count in sorted(found.items(), key=lambda item: -item[1]) if count >= 1.0}


def unprofiled(target: Target) -> str | None:
    """Why there is no profile of programs for a target; None when there is one."""
    runner = _profiler(target)
    if runner is None:
        return f"no profile: no QEMU runs programs for '{target.name}'"
    return missing_emulator(target.model_copy(update={"runner": runner}))


def _profiler(target: Target) -> Runner | None:
    """The QEMU that a profile is made by: the target's own, or for a PC's programs one that emulates a PC."""
    runner = target.runner
    if runner is not None and runner.counter == "callgrind" and platform.machine().lower() in ("x86_64", "amd64"):
        return Runner(argv=("qemu-x86_64", "-cpu", "max", "{artifact}"), package="qemu-user", counter="plugin")
    return runner if runner is not None and runner.counter in ("icount", "plugin") else None


def _functions(artifact: Artifact) -> tuple[list[int], list[str]]:
    """The addresses and names of a program's functions, in ascending order; none of one whose names were removed."""
    with artifact.path.open("rb") as stream:
        table = ELFFile(stream).get_section_by_name(".symtab")
        if table is None:
            return [], []
        # The lowest bit of an address in Thumb code is no part of it.
        thumb = int(artifact.target.firmware is not None and artifact.target.firmware.core == "cortex_m")
        symbols = [s for s in table.iter_symbols() if s["st_info"]["type"] == "STT_FUNC"]
        pairs = sorted({symbol["st_value"] & ~thumb: symbol.name for symbol in symbols}.items())
    return [address for address, _ in pairs], [name for _, name in pairs]


def uncountable(artifact: Artifact) -> str | None:
    """Why instructions cannot be counted for a program here; None when they can."""
    runner = artifact.target.runner
    if runner is None or runner.counter is None:
        return f"no way to count instructions is known for '{artifact.target.name}'"
    if runner.counter == "callgrind" and shutil.which("valgrind") is None:
        return "'valgrind' is not installed; apt-get install valgrind"
    return None


@dataclass(frozen=True)
class _Way:
    """How a run is made to say a number."""

    pattern: str
    """Finds it in what comes on standard error."""
    options: Sequence[str] = ()
    """For the emulator."""
    prefix: Sequence[str] = ()
    """Before the command."""
    environment: Mapping[str, str] = field(default_factory=dict)


def _count(artifact: Artifact, kind: str, positions: int, way: _Way) -> int:
    said = _said(artifact, kind, positions, way)
    found = re.search(way.pattern, said, re.MULTILINE)
    if found is None:
        raise LlgenError(f"counting instructions failed: '{artifact.path.name}' said {said[-500:]!r}")
    return int(found[1])


def _said(artifact: Artifact, kind: str, positions: int, way: _Way) -> str:
    """What a run writes to standard error."""
    words = [*way.prefix, *command(artifact, [BENCH_OPTIONS[kind], str(positions)], way.options)]
    environment = {**os.environ, **way.environment}
    done = subprocess.run(words, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    said = done.stderr.decode("utf-8", errors="replace")
    if done.returncode != 0:
        raise LlgenError(f"counting instructions failed: {' '.join(words)}\n{said[-500:]}")
    return said


def _plugin(emulator: str) -> Path:
    """The counting plugin, compiled for the QEMU at hand and kept in the cache."""
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
    """The version of the plugin interface: 1 up to QEMU 8.1, then 2, which 9 and later ask for at least."""
    text = subprocess.run([emulator, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"version (\d+)\.(\d+)", text)
    return 1 if found and (int(found[1]), int(found[2])) < (8, 2) else 2
