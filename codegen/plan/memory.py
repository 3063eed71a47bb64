"""Planning memory: every buffer of the generated state, its place, and the bytes that a device must have."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from llgen.errors import ExitCode, LlgenError
from llgen.targets.instruction_sets import InstructionSet

from ..contract.matrix import GROUP
from ..contract.numerics import LANES
from ..model.architectures.graph import Attention, Graph, Norm, Operation, Sample
from ..quantise.quantize import QuantModel
from .arena import Buffer, Demand, place
from .sizes import operand_elements, round_up, section_sizes

WORD_ROOM = 64
"""Places for tokens after the context's, which the last word of a prompt needs while its characters are merged."""

# Rows at a distance of a power of two would all use the same few sets of a cache.
_APART = 16

# Two unions of a pointer and a 64-bit integer, and a 32-bit integer.
_CALLBACK_BYTES = 20

# Six 32-bit integers: the maximum and the next number of guesses, which rows of logits are ready, and two counts.
_SPECULATION_BYTES = 24

# Sizes are compile-time constants, also on 32-bit targets.
_MAX_BYTES = (1 << 31) - 1


@dataclass(frozen=True)
class Member:
    """An array of the generated state."""

    name: str
    type: str
    """Its type in C."""
    count: int
    bytes: int


@dataclass(frozen=True)
class BlockPlan:
    """Sizes of the buffers for a block of positions."""

    positions: int
    """Maximum number of positions that are evaluated together."""
    attend_rows: int
    """Queries of a KV head whose scores are computed together."""
    attend_units: int
    """KV heads with scratch memory of their own, so that threads can compute them at the same time."""
    scores: int
    """Distance from one query's scores to the next query's, in floats."""
    head_room: int
    """Elements of a head, rounded up to whole vectors."""
    operand_rows: int
    """Number of integer vectors in the buffer: for the positions or, during attention, for the queries."""
    operand: int
    """Elements of such a vector."""
    threads: bool
    """Whether the state holds a callback that divides the work."""


@dataclass(frozen=True)
class PromptPlan:
    """Sizes of a baked prompt's data for each KV head of each layer, from the start of its cache; in elements."""

    tokens: int
    """Tokens of the prompt, including the last one, whose keys and values are not baked."""
    keys: int
    values: int
    scales: int
    """Number of scales of keys, and of values; 0 in a float32 cache."""


@dataclass(frozen=True)
class MemoryPlan:
    """The sizes of all data of generated code; counts are elements unless their names say bytes."""

    buffers: tuple[Buffer, ...]
    members: tuple[Member, ...]
    """The arrays of the state, in order; the larger elements first, so that there is no padding."""
    dim_padded: int
    """x and n: whole blocks of rows, and whole groups of 8 lanes; the padding holds zeros"""
    dim_rows: int
    """dim in whole blocks of rows"""
    hidden_padded: int
    qkv_padded: int
    vocab_padded: int
    context_padded: int
    """Positions in the key cache, in whole blocks."""
    head_columns: int
    """Elements of a head in the key cache: in whole steps of the integer kernel, if that kernel reads the cache"""
    head_padded: int
    """Elements of a head in the value cache."""
    value_positions: int
    """Positions in an 8-bit value cache, in whole groups of positions that vectors process together"""
    block: BlockPlan | None
    """Sizes for several positions at a time; None: positions are evaluated one by one."""
    drafts: int
    """Tokens that may be evaluated ahead."""
    ram_bytes: int
    """sizeof of the state: all the RAM that generated code uses, except the stack."""
    sections: Mapping[str, int]
    """Kind of read-only data -> bytes, without code."""
    prompt: PromptPlan | None = None
    """The baked prompt; None: conversations begin with the start token."""

    @property
    def positions(self) -> int:
        """Maximum number of positions that are evaluated together."""
        return 1 if self.block is None else self.block.positions

    @property
    def prompt_tokens(self) -> int:
        """Number of baked tokens with which every conversation begins."""
        return 0 if self.prompt is None else self.prompt.tokens

    @property
    def rodata_bytes(self) -> int:
        return sum(self.sections.values())


def plan(
    model: QuantModel,
    kernels: InstructionSet,
    tokenizer_bytes: int = 0,
    positions: int = 1,
    *,
    threads: bool = False,
    drafts: int = 0,
) -> MemoryPlan:
    """Place every buffer, for blocks of `positions` positions; with `threads`, for a callback that divides their work.

    The logits of up to `drafts` positions, fewer than a block has, are kept in addition to those of the newest one.

    Raises LlgenError (does not fit) when the state or a matrix is larger than a 32-bit target can address.
    """
    config, rows = model.config, kernels.block_rows(model.is_integer)
    dim_padded = round_up(config.dim, max(rows, LANES))
    hidden_padded = round_up(config.hidden_dim, rows)
    qkv_padded = round_up(config.q_dim + 2 * config.kv_dim, rows)
    vocab_padded = round_up(config.vocab_size, rows)
    whole_cache = model.kv == "q8"
    whole_groups = rows if whole_cache else kernels.block_rows(False) if positions > 1 else 1
    context_padded = round_up(model.context, math.lcm(whole_groups, kernels.score_lanes(blocks=positions > 1)))
    head_columns = round_up(config.head_dim, kernels.int_step) if whole_cache else config.head_dim
    head_padded = round_up(config.head_dim, kernels.int_mix) if whole_cache else config.head_dim
    value_positions = round_up(model.context, kernels.score_lanes(blocks=True) if positions > 1 else 2)
    block = _block(model, kernels, positions, context_padded, head_columns, threads) if positions > 1 else None
    buffers = place(_demands(model, kernels, block, context_padded, drafts))
    logits = (1 + drafts) * vocab_padded
    members = _members(
        model, kernels, buffers, logits, context_padded, head_columns, head_padded, value_positions, block
    )
    ram_bytes = sum(member.bytes for member in members) + 2 * 4
    if drafts:
        members = (members[0], _member("drafts", "int32_t", 1 + drafts), *members[1:])
        ram_bytes += members[1].bytes + _SPECULATION_BYTES
    if threads:
        ram_bytes = round_up(ram_bytes + _CALLBACK_BYTES, 8)
    sections = {name: size for name, size in section_sizes(model, kernels).items() if size}
    if tokenizer_bytes:
        sections["tokenizer"] = tokenizer_bytes
    for what, size in {"the state in RAM": ram_bytes, **sections}.items():
        if size > _MAX_BYTES:
            raise LlgenError(
                f"{what} takes {size} bytes; generated C addresses at most {_MAX_BYTES}",
                "--context builds for fewer positions",
                ExitCode.DOES_NOT_FIT,
                {"region": what, "needed": size, "available": _MAX_BYTES},
            )
    return MemoryPlan(
        buffers=buffers,
        members=members,
        dim_padded=dim_padded,
        dim_rows=round_up(config.dim, rows),
        hidden_padded=hidden_padded,
        qkv_padded=qkv_padded,
        vocab_padded=vocab_padded,
        context_padded=context_padded,
        head_columns=head_columns,
        head_padded=head_padded,
        value_positions=value_positions,
        block=block,
        drafts=drafts,
        ram_bytes=ram_bytes,
        sections=sections,
    )


def _demands(
    model: QuantModel, kernels: InstructionSet, block: BlockPlan | None, context_padded: int, drafts: int
) -> list[Demand]:
    """The buffers of the arena: what operations write, and the scratch of attention, in the order of first use."""
    graph, positions = model.graph, 1 if block is None else block.positions
    demands: dict[str, Demand] = {}
    for step, operation in enumerate(graph.operations):
        vector = operation.output
        if isinstance(operation, Attention):
            for name, floats in _scratch(model, block, context_padded).items():
                demands[name] = Demand(name, floats, step, step)
        if vector.kept or vector.name in demands:
            continue
        count, (first, last), beside = positions, graph.span(vector), None
        if isinstance(operation, Sample):
            count = 1
        elif isinstance(operation, Norm) and model.is_integer:
            if operation.folded:
                continue  # the norm's input is quantised without a change
            count, first, last = 1 + drafts, step, step  # quantised before the next operation
            beside = operation.input.name
        floats = count * _padded(operation, graph, model, kernels, block)
        demands[vector.name] = Demand(vector.name, floats, first, last, beside)
    return list(demands.values())


def _scratch(model: QuantModel, block: BlockPlan | None, context_padded: int) -> dict[str, int]:
    """Floats of the scratch buffers of attention."""
    if block is None:
        return {"scores": context_padded}
    queries = block.attend_units * block.attend_rows
    if model.kv == "q8":  # queries are integers, which have a place of their own
        return {"scores": queries * block.scores}
    return {"scores": queries * block.scores, "queries": queries * block.head_room}


def _padded(
    operation: Operation, graph: Graph, model: QuantModel, kernels: InstructionSet, block: BlockPlan | None
) -> int:
    """Floats of one position's output: in whole blocks of rows and, where a norm sums it, in whole groups of lanes."""
    vector, rows = operation.output, kernels.block_rows(model.is_integer)
    if isinstance(operation, Attention):  # a single position's last vector may reach beyond the end
        return vector.size + (kernels.lanes if block is None else 0)
    if any(isinstance(norm, Norm) and vector in (*norm.inputs, norm.output) for norm in graph.operations):
        rows = max(rows, LANES)
    sizes = [part.size for part in vector.parts] if vector.apart else [vector.size]
    return sum(round_up(size, rows) for size in sizes)


def _members(
    model: QuantModel,
    kernels: InstructionSet,
    buffers: Sequence[Buffer],
    logits: int,
    context_padded: int,
    head_columns: int,
    head_padded: int,
    value_positions: int,
    block: BlockPlan | None,
) -> tuple[Member, ...]:
    config = model.config
    heads = config.n_layers * config.n_kv_heads
    arena = max(buffer.offset + buffer.floats for buffer in buffers)
    members = [_member("tokens", "int32_t", model.context + WORD_ROOM)]
    if model.kv == "f32":
        members += [
            _member("keys", "float", heads * context_padded * config.head_dim),
            _member("values", "float", heads * model.context * config.head_dim + kernels.lanes),
        ]
    else:
        members += [
            _member("key_scales", "float", heads * context_padded),
            _member("value_scales", "float", heads * context_padded),
        ]
    members += [_member("arena", "float", arena), _member("logits", "float", logits)]
    if model.is_integer:
        row = _operand_row(model, kernels, head_columns)
        operands, units = (1, 1) if block is None else (block.operand_rows, block.attend_units)
        element = f"int{8 * kernels.int_bytes}_t"
        if block is not None:
            members.append(_member("scales", "float", operands))
            if kernels.biased:
                members.append(_member("starts", "int32_t", operands))
            if kernels.wide_tiles:
                members.append(_member("wide", "int16_t", operands * row))
        if model.kv == "q8":
            members.append(_member("attention_weights", "int16_t", units * value_positions))
        members.append(_member("operand_values", element, operands * row))
        if model.has_groups:
            members.insert(-1, _member("operand_offsets", "int16_t", operands * row // GROUP))
    if model.kv == "q8":
        members += [
            _member("keys", "int8_t", heads * context_padded * head_columns),
            _member("values", "int8_t", heads * value_positions * head_padded),
        ]
    return tuple(members)


def _block(
    model: QuantModel, kernels: InstructionSet, positions: int, context_padded: int, head_columns: int, threads: bool
) -> BlockPlan:
    attend_rows = (kernels.int_tiles if model.kv == "q8" else kernels.float_tiles)[0].positions
    units = model.config.n_kv_heads if threads else 1
    return BlockPlan(
        positions=positions,
        attend_rows=attend_rows,
        attend_units=units,
        scores=context_padded + _APART,
        head_room=round_up(model.config.head_dim, kernels.lanes),
        operand_rows=max(positions, units * attend_rows),
        operand=_operand_row(model, kernels, head_columns),
        threads=threads,
    )


def _operand_row(model: QuantModel, kernels: InstructionSet, head_columns: int) -> int:
    """Elements of an integer vector that is long enough for every product, including those of attention."""
    return operand_elements(max(model.graph.longest_row, head_columns), kernels)


def _member(name: str, kind: str, count: int) -> Member:
    """An array whose end is a multiple of four bytes."""
    size = {"float": 4, "int32_t": 4, "int16_t": 2, "int8_t": 1}[kind]
    count = round_up(count, 4 // size)
    return Member(name, kind, count, count * size)
