"""The stages in their order: from a model directory to generated files, and to a compiled program."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llgen.targets.instruction_sets import InstructionSet, select
from llgen.targets.schema import Target

from ..model.checkpoint import Checkpoint
from ..model.prefix import required_prefix, safe_prefix
from ..pack.prompt_cache import pack_prompt, with_prompt
from ..pack.tabulate import tabulate
from ..pack.tokenizer_tables import TokenizerTables
from ..pack.weights import Packed, PackedTensor, pack
from ..plan.blocking import has_threads, positions_of_block
from ..plan.extras import PLAIN, Extras
from ..plan.memory import MemoryPlan, plan
from ..plan.prompt import require_room
from ..plan.speculation import positions_for_drafts
from ..plan.stack import promised_stack
from ..plan.tuning import Values, tuned
from ..quantise.quantize import QuantModel, quantized
from ..words.boxes import Words, spell_out
from ..words.decisions import Decisions
from ..words.machine import program_sources
from .files import FileSet, render, weights_paths


@dataclass(frozen=True)
class Generation:
    """Every box of the pipeline for one model and one target, and the files at its end."""

    model: QuantModel
    kernels: InstructionSet
    memory: MemoryPlan
    stack_bytes: int
    """What the header promises that the stack stays below."""
    tables: TokenizerTables | None
    packed: Packed
    words: Words
    files: FileSet
    model_sources: tuple[str, ...]
    """The C files of the model."""
    program_sources: tuple[str, ...]
    """The C files that make a program of it."""

    @property
    def sources(self) -> tuple[str, ...]:
        """All C files."""
        return self.model_sources + self.program_sources


def generate(
    source: Checkpoint | QuantModel,
    target: Target,
    *,
    prefix: str | None = None,
    prefill: int | None = None,
    extras: Extras = PLAIN,
    tuning: Values | None = None,
    stack_bytes: int | None = None,
    trace: bool = False,
) -> Generation:
    """Run all pure stages; touches no disk. A checkpoint is built as it is, in float32.

    `prefix` is refused as `required_prefix` says; None stands for the model's name, or what `safe_prefix` makes of it.
    `prefill` is how many positions are evaluated together; None leaves it to the tuning, and without one to
    `positions_of_block`, which says what it raises. `tuned` says what a tuning raises. `stack_bytes` is what the header
    promises; None leaves it to `promised_stack`. Raises LlgenError (does not fit) when the context is shorter than the
    prompt among the `extras`.
    """
    model = source if isinstance(source, QuantModel) else quantized(source)
    tuning = tuning or Values()
    kernels = tuned(select(target.isa), tuning)
    tables = None if model.vocabulary is None else tabulate(model.vocabulary)
    prefill = tuning.prefill if prefill is None else prefill
    block = positions_of_block(model, kernels, target, prefill)
    positions = positions_for_drafts(block, extras.drafts, model.context, asked=prefill is not None)
    threads = has_threads(target, positions)
    tokenizer_bytes = 0 if tables is None else tables.size
    memory = plan(model, kernels, tokenizer_bytes, positions, threads=threads, drafts=extras.drafts)
    packed = pack(model, kernels)
    if extras.prompt is not None:
        require_room(extras.tokens, model.context)
        memory = with_prompt(memory, model, kernels, len(extras.tokens))
        packed = packed.followed_by(pack_prompt(extras.prompt, memory, kernels))
    p = safe_prefix(model.name) if prefix is None else required_prefix(prefix)
    sources = _model_sources(p, tables is not None, packed.tensors)
    program = program_sources(target) + ((f"{p}_threads.c",) if threads else ())
    if stack_bytes is None:
        stack_bytes = promised_stack(model, kernels, target, 0 if tables is None else tables.piece_bytes)
    words = spell_out(
        Decisions(model, memory, kernels, packed, tables, target, p, sources, program, stack_bytes, trace)
    )
    files = render(words, kernels, packed.tensors, target)
    return Generation(model, kernels, memory, stack_bytes, tables, packed, words, files, sources, program)


def _model_sources(prefix: str, has_tokenizer: bool, tensors: Sequence[PackedTensor]) -> tuple[str, ...]:
    tokenizer = (f"{prefix}_tokenizer.c",) if has_tokenizer else ()
    return (f"{prefix}.c", f"{prefix}_forward.c", *tokenizer, *weights_paths(prefix, tensors))
