"""Whether a model fits a target without an operating system: decided from the plan, before anything is compiled."""

from __future__ import annotations

from llgen.errors import ExitCode, Fact, LlgenError
from llgen.targets.instruction_sets import InstructionSet
from llgen.targets.schema import Firmware, Target

from ..quantise.quantize import QuantModel
from .memory import MemoryPlan, plan
from .program import program_ram

CODE_BYTES = 32 << 10
"""Bytes reserved for code: the functions of the program and of the compiler; the linker checks the actual size."""


def require_fit(model: QuantModel, kernels: InstructionSet, memory: MemoryPlan, target: Target) -> None:
    """Refuse a model whose weights or state exceed a region of the target's memory.

    Raises LlgenError (does not fit) with the bytes, the limit, and the context that would fit.
    """
    firmware = target.firmware
    if firmware is None:
        return
    has_tokenizer = model.vocabulary is not None
    for region in firmware.memory:
        need = _need(firmware, region.name, memory, target, model.context, has_tokenizer)
        if need <= region.length:
            continue
        ram = {"data", "state"} & set(region.holds)
        facts: dict[str, Fact] = {"region": region.name, "needed": need, "available": region.length}
        hint = "a smaller model, or a scheme with smaller weights"
        if ram:
            context = fitting_context(model, kernels, target, memory.positions, memory.drafts) or 0
            facts |= {"context": model.context, "fitting_context": context}
            hint = f"--context {context}" if context > memory.prompt_tokens else "a smaller model"
            if memory.positions > 1:
                hint += f", or a smaller {'--speculate' if memory.drafts else '--prefill'}"
        elif memory.prompt is not None:
            hint += ", or a shorter --bake-prompt"
        raise LlgenError(
            f"'{model.name}' needs {need:,} bytes of {region.name} for {' and '.join(region.holds)}"
            + (f" at context {model.context}" if ram else "")
            + f"; '{target.name}' has {region.length:,}",
            hint,
            ExitCode.DOES_NOT_FIT,
            facts,
        )


def fitting_context(
    model: QuantModel, kernels: InstructionSet, target: Target, positions: int = 1, drafts: int = 0
) -> int | None:
    """The longest context, up to that of `model`, whose state fits the target; None when not even one position does.

    `positions` are evaluated together, up to `drafts` of them ahead.
    """
    if target.firmware is None:
        return model.context
    low, high = 0, model.context
    while low < high:
        middle = (low + high + 1) // 2
        if _fits(model, kernels, target, middle, positions, drafts):
            low = middle
        else:
            high = middle - 1
    return low or None


def _fits(
    model: QuantModel, kernels: InstructionSet, target: Target, context: int, positions: int, drafts: int
) -> bool:
    firmware = target.firmware
    assert firmware is not None
    positions = min(positions, context)
    memory = plan(model.for_context(context), kernels, positions=positions, drafts=min(drafts, positions - 1))
    has_tokenizer = model.vocabulary is not None
    return all(
        _need(firmware, region.name, memory, target, context, has_tokenizer) <= region.length
        for region in firmware.memory
        if {"data", "state"} & set(region.holds)
    )


def _need(firmware: Firmware, name: str, memory: MemoryPlan, target: Target, context: int, has_tokenizer: bool) -> int:
    """Bytes of a region that are used, as far as they are known before compiling."""
    tokenizer = memory.sections.get("tokenizer", 0)
    sizes = {
        "code": CODE_BYTES + tokenizer,
        "weights": memory.rodata_bytes - tokenizer,
        "data": firmware.stack_bytes + program_ram(target, context, has_tokenizer),
        "state": memory.ram_bytes,
    }
    holds = next(region.holds for region in firmware.memory if region.name == name)
    return sum(sizes[content] for content in holds)
