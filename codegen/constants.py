"""Constants and members of the generated C: their names, lined up, and their values."""

from __future__ import annotations

from collections.abc import Iterable

from .arena import STEPS
from .context import Named
from .kernels import KernelSet
from .plan import WORD_ROOM, BlockPlan, MemoryPlan
from .quantize import QuantModel
from .sizes import operand_elements, promised_stack
from .tokenizer_tables import TokenizerTables

_MEMBER_COMMENTS = {
    "tokens": f" /* the last {WORD_ROOM}: to merge a prompt's last word in */",
    "drafts": " /* the newest token, and those expected behind it */",
}


def public_constants(
    model: QuantModel, memory: MemoryPlan, kernels: KernelSet, tables: TokenizerTables | None, upper: str
) -> list[Named]:
    """What a header says of a model; `upper` begins their names."""
    config = model.config
    constants = {
        f"{upper}_VOCAB": config.vocab_size,
        f"{upper}_CONTEXT": model.context,
        f"{upper}_BOS": config.bos_id,
        f"{upper}_EOS": config.eos_id,
    }
    if tables is not None:
        constants[f"{upper}_PIECE_BYTES"] = max(3, *(len(text) for text in tables.texts))
    if memory.prompt is not None:
        constants[f"{upper}_PROMPT_TOKENS"] = memory.prompt.tokens
    if memory.drafts:
        constants[f"{upper}_DRAFTS"] = memory.drafts
    constants[f"{upper}_RAM_BYTES"] = memory.ram_bytes
    constants[f"{upper}_STACK_BYTES"] = promised_stack(model, kernels)
    return _aligned((name, str(value), "") for name, value in constants.items())


def private_constants(model: QuantModel, memory: MemoryPlan, kernels: KernelSet) -> list[Named]:
    """Dimensions and padded sizes, for the model's own sources."""
    config = model.config
    constants = {
        "DIM": config.dim,
        "DIM_PADDED": memory.dim_padded,
        "DIM_ROWS": memory.dim_rows,
        "HIDDEN": config.hidden_dim,
        "HIDDEN_PADDED": memory.hidden_padded,
        "N_LAYERS": config.n_layers,
        "N_HEADS": config.n_heads,
        "N_KV_HEADS": config.n_kv_heads,
        "GROUP": config.n_heads // config.n_kv_heads,
        "HEAD_DIM": config.head_dim,
        "HALF_HEAD": config.head_dim // 2,
        "Q_DIM": config.q_dim,
        "KV_DIM": config.kv_dim,
        "QKV_PADDED": memory.qkv_padded,
        "VOCAB": config.vocab_size,
        "VOCAB_PADDED": memory.vocab_padded,
        "CONTEXT": model.context,
        "CONTEXT_PADDED": memory.context_padded,
        "BLOCK_ROWS": kernels.block_rows(model.is_integer),
    }
    if model.is_integer:
        constants |= {"STEP": kernels.int_step, "PADDING": operand_elements(1, kernels)}
    if model.embedding.bits == 4:
        constants["FOUR_STEP"] = kernels.four_step
    if model.kv == "q8":
        constants |= {"HEAD_COLUMNS": memory.head_columns, "HEAD_PADDED": memory.head_padded}
        constants["VALUE_POSITIONS"] = memory.value_positions
    if memory.block is not None:
        constants |= _block_constants(memory.block, model, kernels)
    if memory.prompt is not None:
        constants |= {"PROMPT_KEYS": memory.prompt.keys, "PROMPT_VALUES": memory.prompt.values}
        if model.kv == "q8":
            constants["PROMPT_SCALES"] = memory.prompt.scales
    return _aligned((name, str(value), "") for name, value in constants.items())


def _block_constants(block: BlockPlan, model: QuantModel, kernels: KernelSet) -> dict[str, int]:
    constants = {
        "PREFILL": block.positions,
        "ATTEND_ROWS": block.attend_rows,
        "ATTEND_UNITS": block.attend_units,
        "SCORES": block.scores,
    }
    if block.threads:
        constants["LEAST_PARALLEL"] = kernels.least_parallel
    if model.is_integer:
        constants["OPERAND"] = block.operand
    if model.kv == "f32":
        constants |= {"HEAD_ROOM": block.head_room, "KEY_ROWS": kernels.block_rows(False)}
    return constants


def state_members(memory: MemoryPlan) -> list[Named]:
    """The arrays of the state: type, then name and count."""
    return [
        Named(
            member.type.ljust(len("uint32_t")), f"{member.name}[{member.count}];", _MEMBER_COMMENTS.get(member.name, "")
        )
        for member in memory.members
    ]


def buffer_offsets(memory: MemoryPlan) -> list[Named]:
    """Where buffers begin in the arena, in floats."""
    return _aligned(
        (
            f"AT_{buffer.name.upper()}",
            f"{buffer.offset},".ljust(8),
            f"{buffer.floats} floats, from {STEPS[buffer.first]} to {STEPS[buffer.last]}",
        )
        for buffer in memory.buffers
    )


def _aligned(rows: Iterable[tuple[str, str, str]]) -> list[Named]:
    listed = list(rows)
    width = max(len(row[0]) for row in listed)
    return [Named(name.ljust(width), value, comment) for name, value, comment in listed]
