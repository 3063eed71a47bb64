"""The stages in their order: from a model directory to generated files, and to a compiled program."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llgen.targets.schema import Target

from . import literals
from .checkpoint import Checkpoint
from .context import CodegenContext, name
from .kernels import KernelSet, select
from .pack import PackedTensor, pack
from .plan import MemoryPlan, plan
from .quantize import QuantModel, quantize
from .render import FileSet, render, weights_paths
from .spec import ModelSpec, lower
from .tokenizer_tables import TokenizerTables, tabulate
from .toolchain import NUMERIC_FLAGS


@dataclass(frozen=True)
class Generation:
    """Every box of the pipeline for one model and one target, and the files at its end."""

    spec: ModelSpec
    model: QuantModel
    kernels: KernelSet
    memory: MemoryPlan
    tables: TokenizerTables | None
    tensors: tuple[PackedTensor, ...]
    context: CodegenContext
    files: FileSet
    sources: tuple[str, ...]
    """The C files of a program."""


def generate(
    checkpoint: Checkpoint,
    target: Target,
    *,
    scheme: str = "f32",
    context: int | None = None,
    prefix: str | None = None,
    trace: bool = False,
) -> Generation:
    """Run all pure stages; touches no disk."""
    spec = lower(checkpoint, context)
    model = quantize(spec, scheme)
    kernels = select(target.isa)
    tables = None if model.vocabulary is None else tabulate(model.vocabulary)
    memory = plan(model, kernels, 0 if tables is None else tables.size)
    tensors = pack(model, kernels)
    p = literals.prefix(prefix or checkpoint.name)
    sources = _sources(p, tables is not None, tensors)
    words = name(
        model,
        memory,
        kernels,
        tensors,
        tables,
        prefix=p,
        target=target.name,
        cflags=[*NUMERIC_FLAGS, *target.compiler.cflags],
        sources=sources,
        trace=trace,
    )
    files = render(words, kernels, tensors)
    return Generation(spec, model, kernels, memory, tables, tensors, words, files, tuple(sources))


def _sources(prefix: str, has_tokenizer: bool, tensors: Sequence[PackedTensor]) -> list[str]:
    sources = [f"{prefix}.c", f"{prefix}_forward.c"]
    if has_tokenizer:
        sources.append(f"{prefix}_tokenizer.c")
    return [*sources, *weights_paths(prefix, tensors), "main.c"]
