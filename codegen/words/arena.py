"""The box of the internal header: dimensions, places in the arena, and arrays of constants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llgen.targets.instruction_sets import InstructionSet

from ..contract.numerics import CHUNK
from ..plan.memory import BlockPlan
from ..plan.sizes import operand_elements
from .decisions import Decisions
from .flags import computes_floats_on_arm
from .lists import Named, aligned


@dataclass(frozen=True)
class TensorWords:
    """An array of constants."""

    name: str
    type: str
    """Of an element, in C."""
    bytes: int
    count: int
    """Elements."""


@dataclass(frozen=True)
class Arena:
    """What the model's own source files share."""

    private_constants: Sequence[Named]
    buffers: Sequence[Named]
    """Places in the arena, in floats."""
    tensors: Sequence[TensorWords]
    block_rows: int
    arm_floats: bool
    """The processor is an Arm with a float unit."""


def arena(decided: Decisions) -> Arena:
    """Fill the box."""
    return Arena(
        private_constants=private_constants(decided),
        buffers=_buffers(decided),
        tensors=[TensorWords(t.name, t.type, len(t.data), t.count) for t in decided.packed.tensors],
        block_rows=decided.kernels.block_rows(decided.model.is_integer),
        arm_floats=computes_floats_on_arm(decided.target),
    )


def _buffers(decided: Decisions) -> list[Named]:
    """Where buffers begin in the arena, and the operations between which they are needed."""
    steps = [operation.name for operation in decided.model.graph.operations]
    return aligned(
        (
            f"AT_{buffer.name.upper()}",
            f"{buffer.offset},".ljust(8),
            f"{buffer.floats} floats, from {steps[buffer.first]} to {steps[buffer.last]}",
        )
        for buffer in decided.memory.buffers
    )


def private_constants(decided: Decisions) -> list[Named]:
    """Dimensions and padded sizes; rendering leaves out those that the model's source files do not read."""
    model, memory, kernels = decided.model, decided.memory, decided.kernels
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
        "VOCAB_PADDED": memory.vocab_padded,
        "CONTEXT_PADDED": memory.context_padded,
        "BLOCK_ROWS": kernels.block_rows(model.is_integer),
        "VOCAB": config.vocab_size,
        "STEP": kernels.int_step,
        "PADDING": operand_elements(1, kernels),
        "SIDE": kernels.int_columns,
        "FOUR_STEP": kernels.four_step,
        "HEAD_COLUMNS": memory.head_columns,
        "HEAD_PADDED": memory.head_padded,
        "VALUE_POSITIONS": memory.value_positions,
        "VALUE_SIDE": kernels.value_group(blocks=decided.blocks),
        "CHUNK": CHUNK,
    }
    if memory.block is not None:
        constants |= _block_constants(memory.block, kernels)
    if memory.prompt is not None:
        constants["PROMPT_KEYS"] = memory.prompt.keys
        constants["PROMPT_VALUES"] = memory.prompt.values
        constants["PROMPT_SCALES"] = memory.prompt.scales
    return aligned((name, str(value), "") for name, value in constants.items())


def _block_constants(block: BlockPlan, kernels: InstructionSet) -> dict[str, int]:
    return {
        "PREFILL": block.positions,
        "ATTEND_ROWS": block.attend_rows,
        "ATTEND_UNITS": block.attend_units,
        "SCORES": block.scores,
        "SCORE_LANES": kernels.score_lanes(blocks=True),
        "LEAST_PARALLEL": kernels.least_parallel,
        "OPERAND": block.operand,
        "HEAD_ROOM": block.head_room,
        "KEY_ROWS": kernels.block_rows(False),
    }
