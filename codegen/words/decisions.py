"""All that the earlier stages decided, for the functions that spell it out in words of C: one function a box."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llgen.targets.instruction_sets import InstructionSet
from llgen.targets.schema import Target

from ..pack.tokenizer_tables import TokenizerTables
from ..pack.weights import Packed
from ..plan.memory import MemoryPlan
from ..quantise.quantize import QuantModel


@dataclass(frozen=True)
class Decisions:
    """The boxes of the pipeline before any word of C."""

    model: QuantModel
    memory: MemoryPlan
    kernels: InstructionSet
    packed: Packed
    tables: TokenizerTables | None
    """None: the model has no tokenizer."""
    target: Target
    prefix: str
    """Of the functions and types of the generated C."""
    sources: Sequence[str]
    """C files of the model."""
    program: Sequence[str]
    """C files that make a program of the model."""
    stack_bytes: int
    """Stack limit that the header promises."""
    trace: bool = False
    """The network hands every intermediate to a function outside; for `llgen check` alone."""

    @property
    def upper(self) -> str:
        """The prefix of constants."""
        return self.prefix.upper()

    @property
    def blocks(self) -> bool:
        """Several positions are evaluated together."""
        return self.memory.block is not None

    @property
    def threads(self) -> bool:
        """Evaluation may be divided among threads."""
        return self.memory.block is not None and self.memory.block.threads

    @property
    def speculates(self) -> bool:
        """Tokens may be evaluated ahead."""
        return self.memory.drafts > 0
