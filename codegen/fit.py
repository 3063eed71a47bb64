"""Does a model fit a bare machine? Answered from the plan, before anything is compiled."""

from __future__ import annotations

from llgen.targets.schema import Firmware, Target

from .errors import ExitCode, LlgenError
from .kernels import KernelSet
from .machine import program_ram
from .plan import MemoryPlan, plan
from .quantize import QuantModel

CODE_BYTES = 32 << 10
"""Room that is kept for code: the program's and the compiler's own functions; the linker checks the rest."""


def require_fit(model: QuantModel, kernels: KernelSet, memory: MemoryPlan, target: Target) -> None:
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
        hint = "a smaller model, or a scheme with smaller weights"
        if ram:
            context = fitting_context(model, kernels, target, memory.positions, memory.drafts) or 0
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
        )


def fitting_context(
    model: QuantModel, kernels: KernelSet, target: Target, positions: int = 1, drafts: int = 0
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


def _fits(model: QuantModel, kernels: KernelSet, target: Target, context: int, positions: int, drafts: int) -> bool:
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
    """Bytes of a region that are taken, as far as they are known before compiling."""
    tokenizer = memory.sections.get("tokenizer", 0)
    sizes = {
        "code": CODE_BYTES + tokenizer,
        "weights": memory.rodata_bytes - tokenizer,
        "data": firmware.stack_bytes + program_ram(target, context, has_tokenizer),
        "state": memory.ram_bytes,
    }
    holds = next(region.holds for region in firmware.memory if region.name == name)
    return sum(sizes[content] for content in holds)
