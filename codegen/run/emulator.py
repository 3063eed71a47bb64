"""Whether programs for a target can run on this machine: its emulator, its Python package, its instructions."""

from __future__ import annotations

import shutil
from importlib.util import find_spec

from llgen.targets.schema import Target, cpu_flags


def missing_emulator(target: Target) -> str | None:
    """The reason why programs of this target cannot run here, and the command that fixes it; None when they can."""
    runner = target.runner
    if runner is None:
        return f"programs for '{target.name}' can be built here, not run"
    word = runner.argv[0]
    if word not in ("{artifact}", "{python}") and not shutil.which(word):
        return f"'{word}' is not installed" + (f"; apt-get install {runner.package}" if runner.package else "")
    if runner.python_package and find_spec(runner.python_package) is None:
        return f"'{runner.python_package}' is not installed; pip install {runner.python_package}"
    lacking = lacking_instructions(target)
    return f"this processor has no {', '.join(lacking)}" if lacking else None


def lacking_instructions(target: Target) -> list[str]:
    """Features that a target's programs need and this processor lacks, as named in /proc/cpuinfo; empty when the
    machine does not list its features."""
    has = cpu_flags()
    return sorted(set(target.runner.cpu_flags) - has) if target.runner is not None and has is not None else []
