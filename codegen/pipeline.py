"""The stages in their order: from a model directory to generated files, and to a compiled program."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llgen.targets.schema import Target

from . import literals
from .blocking import has_threads, positions_of_block
from .checkpoint import Checkpoint
from .context import CodegenContext
from .extras import PLAIN, Extras
from .kernels import KernelSet, select
from .machine import program_sources
from .naming import name
from .pack import Packed, PackedTensor, pack
from .plan import MemoryPlan, plan
from .prompt import require_room
from .prompt_cache import pack_prompt, with_prompt
from .quantize import QuantModel, quantize
from .render import FileSet, render, weights_paths
from .spec import lower
from .speculation import positions_for_drafts
from .tokenizer_tables import TokenizerTables, tabulate
from .toolchain import NUMERIC_FLAGS
from .tuning import Values, tuned


@dataclass(frozen=True)
class Generation:
    """Every box of the pipeline for one model and one target, and the files at its end."""

    model: QuantModel
    kernels: KernelSet
    memory: MemoryPlan
    tables: TokenizerTables | None
    packed: Packed
    context: CodegenContext
    files: FileSet
    model_sources: tuple[str, ...]
    """The C files of the model."""
    program_sources: tuple[str, ...]
    """The C files that make a program of it."""

    @property
    def sources(self) -> tuple[str, ...]:
        """All C files."""
        return self.model_sources + self.program_sources


def quantized(
    checkpoint: Checkpoint, scheme: str = "f32", kv: str | None = None, context: int | None = None
) -> QuantModel:
    """A trained model in the numbers of a scheme, rounded to nearest."""
    return quantize(lower(checkpoint, context), scheme, kv)


def generate(
    source: Checkpoint | QuantModel,
    target: Target,
    *,
    prefix: str | None = None,
    prefill: int | None = None,
    extras: Extras = PLAIN,
    tuning: Values | None = None,
    trace: bool = False,
) -> Generation:
    """Run all pure stages; touches no disk. A checkpoint is built as it is, in float32.

    `prefill` is how many positions are evaluated together; None leaves it to the tuning, and without one to
    `positions_of_block`, which says what it raises. `tuned` says what a tuning raises. Raises LlgenError (does not fit)
    when the context is shorter than the prompt among the `extras`.
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
    p = literals.prefix(prefix or model.name)
    sources = _model_sources(p, tables is not None, packed.tensors)
    program = program_sources(target) + ((f"{p}_threads.c",) if threads else ())
    words = name(
        model,
        memory,
        kernels,
        packed,
        tables,
        prefix=p,
        target=target,
        cflags=NUMERIC_FLAGS,
        sources=sources,
        program=program,
        trace=trace,
    )
    files = render(words, kernels, packed.tensors, target)
    return Generation(model, kernels, memory, tables, packed, words, files, sources, program)


def _model_sources(prefix: str, has_tokenizer: bool, tensors: Sequence[PackedTensor]) -> tuple[str, ...]:
    tokenizer = (f"{prefix}_tokenizer.c",) if has_tokenizer else ()
    return (f"{prefix}.c", f"{prefix}_forward.c", *tokenizer, *weights_paths(prefix, tensors))
