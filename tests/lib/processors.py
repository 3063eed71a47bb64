"""What the processor at hand may lack, for tests that run a program in their own process or by its path."""

from __future__ import annotations

import pytest

from llgen.codegen.run.emulator import lacking_instructions
from llgen.targets.schema import Target, cpu_flags


def require_processor(target: Target) -> None:
    """Skip what this processor has no instructions for, with a word."""
    lacking = lacking_instructions(target)
    if lacking:
        pytest.skip(f"{target.name}: this processor has no {', '.join(lacking)}")


def require_flags(*flags: str) -> None:
    """Skip what a compiler was told to use and this processor lacks, in the words of /proc/cpuinfo."""
    has = cpu_flags()
    lacking = [] if has is None else sorted(set(flags) - has)
    if lacking:
        pytest.skip(f"this processor has no {', '.join(lacking)}")
