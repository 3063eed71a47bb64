"""Checks that the compiler knows the machine of a target file, and that it has the instructions of the kernels.

The check runs before anything is generated, so that the message names the key of a wrong value. The compiler's own
errors would not.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from llgen.errors import LlgenError, closest, did_you_mean
from llgen.shown import shown, shown_value
from llgen.targets.instruction_sets import load_set
from llgen.targets.schema import Target

from .toolchain import require_caches, zig_cc, zig_environment


def require_known_machine(target: Target) -> None:
    """Ask the compiler about the machine of a user's target file; llgen's own targets are known to be right.

    Raises LlgenError with the file, the key, the value, and similar names.
    """
    if target.source is None:
        return
    defined = _macros(target, "cpu")
    if target.compiler.libc_cpu is not None:
        _macros(target, "libc_cpu")
    triple, cpu = target.compiler.triple or "", shown_value(target.compiler.cpu)
    if triple.endswith("hf") and triple.startswith(("thumb", "arm")) and "__ARM_FP" not in defined:
        raise LlgenError(
            f"'{target.source}': compiler.cpu is {cpu}, which names no float unit, but compiler.triple ends in 'hf'",
            "+vfp4d16sp (Cortex-M4) or +fp_armv8d16sp (M7, M33) after it, or a triple that ends in 'eabi'",
        )
    _require_instructions(target, defined)


def _macros(target: Target, key: str) -> set[str]:
    """The macros that the compiler defines for the processor of a key. Raises LlgenError when it knows none."""
    require_caches()
    cpu = getattr(target.compiler, key)
    with tempfile.TemporaryDirectory() as temporary:
        (Path(temporary) / "empty.c").write_text("", encoding="ascii")
        words = [*zig_cc(target, cpu), *target.compiler.cflags, "-dM", "-E", "empty.c"]
        done = subprocess.run(
            words, cwd=temporary, env=zig_environment(), capture_output=True, text=True, errors="replace", check=False
        )
    if done.returncode != 0:
        raise _unknown(target, key, done.stderr)
    return set(re.findall(r"^#define (\w+)", done.stdout, re.MULTILINE))


def _require_instructions(target: Target, defined: set[str]) -> None:
    chosen = target.isa[0]
    lacking = [macro for macro in load_set(chosen).needs if macro not in defined]
    if lacking:
        fitting = [name for name in target.isa if defined.issuperset(load_set(name).needs) and name != chosen]
        raise LlgenError(
            f"'{target.source}': isa is '{chosen}', but the processor of compiler.cpu "
            f"{shown_value(target.compiler.cpu)} has no {' and '.join(lacking)}",
            f"isa = {list(fitting or ['scalar'])}".replace("'", '"') + ", or a cpu with these instructions",
        )


def _unknown(target: Target, key: str, said: str) -> LlgenError:
    """zig's message about an unknown machine, as one error; `key` is the key of the processor."""
    names = re.findall(r"^ (\w+)", said, re.MULTILINE)
    cpu = getattr(target.compiler, key)
    if "unknown CPU: " in said:
        # Not zig's word for it, which ends at the first dash.
        return _error(target, key, "processor", (cpu or "").partition("+")[0], names)
    if found := re.search(r"unknown CPU feature: '([^']*)'", said):
        return _error(target, key, "feature", found[1], names)
    if found := re.search(r"unknown architecture: '([^']*)'", said):
        return _error(target, "triple", "architecture", found[1], names)
    if found := re.search(r"unable to parse target query '[^']*': Unknown(\w+)", said):
        what, at = ("operating system", 1) if found[1] == "OperatingSystem" else ("ABI", 2)
        words = [*(target.compiler.triple or "").split("-"), "", ""]
        return _error(target, "triple", what, words[at], _TRIPLE_NAMES[what])
    if found := re.search(r"unknown clang option: \"([^\"]*)\"", said):
        return _error(target, "cflags", "flag", found[1], ())
    lines = [line for line in said.splitlines() if line.strip()]
    return LlgenError(
        f"'{target.source}': zig has no compiler for triple {shown_value(target.compiler.triple)} with cpu "
        f"{shown_value(cpu)}: {shown(lines[-1]) if lines else 'it said nothing'}",
        "doc/adding-a-target.md shows what they look like",
    )


_TRIPLE_NAMES = {
    "operating system": ("freestanding", "linux", "windows", "macos", "wasi", "freebsd", "netbsd", "openbsd"),
    "ABI": ("eabi", "eabihf", "musl", "musleabi", "musleabihf", "gnu", "gnueabi", "gnueabihf", "muslabi64"),
}
"""What zig does not list where it knows no better."""

_HINTS = {
    "cpu": "zig's names have underscores; features follow with +, as in cortex_m4+vfp4d16sp",
    "libc_cpu": "a processor whose instructions compiler.cpu has, too; zig's names have underscores",
    "triple": "three words, as in thumb-freestanding-eabihf or aarch64-linux-musl",
    "cflags": "flags that zig and GCC both know",
}


def _error(target: Target, key: str, what: str, word: str, known: Sequence[str]) -> LlgenError:
    value = getattr(target.compiler, key)
    written = ", ".join(value) if key == "cflags" else value
    return LlgenError(
        f"'{target.source}': compiler.{key} is '{shown(written)}': no {what} '{shown(word)}' is known"
        + did_you_mean(word, known),
        _HINTS[key],
        facts={
            "file": target.source,
            "key": f"compiler.{key}",
            "value": written,
            "did_you_mean": closest(word, known),
        },
    )
