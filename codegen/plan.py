"""Planning memory: every buffer of the generated state, its place, and the bytes that a device must have."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .arena import Buffer, lifetime, place
from .errors import ExitCode, LlgenError
from .kernels import KernelSet
from .matrix import GROUP
from .numerics import LANES
from .quantize import QuantModel
from .sizes import operand_elements, round_up, section_sizes

WORD_ROOM = 64
"""Tokens behind the context's, so that the last word of a prompt has room while its characters are being merged."""

# Rows a power of two apart would all fall into the same few places of a cache.
_APART = 16

# Two unions of a pointer and 64 bits, and two whole numbers.
_CALLBACK_BYTES = 24

# Six whole numbers: how far to speculate at most and now, which rows of logits are ahead, and what came of it.
_SPECULATION_BYTES = 24

# Sizes are compile-time constants of 32-bit targets too.
_MAX_BYTES = (1 << 31) - 1


@dataclass(frozen=True)
class Member:
    """An array of the generated state."""

    name: str
    type: str
    """In C."""
    count: int
    bytes: int


@dataclass(frozen=True)
class BlockPlan:
    """Sizes of what belongs to a block of positions."""

    positions: int
    """Evaluated together at most."""
    attend_rows: int
    """Queries of a KV head whose scores are computed together."""
    attend_units: int
    """KV heads that have room of their own, so that they could be worked on at once."""
    scores: int
    """From one query's scores to the next one's, in floats."""
    head_room: int
    """A head's elements in whole vectors."""
    operand_rows: int
    """Vectors of whole numbers that there is room for: the positions' or, during attention, the queries'."""
    operand: int
    """Elements of such a vector."""
    threads: bool
    """The state holds a callback that divides the work."""


@dataclass(frozen=True)
class PromptPlan:
    """What a baked prompt holds for each KV head of each layer, from the beginning of its cache on; in elements."""

    tokens: int
    """Of the prompt, the last one too, whose keys and values are not baked."""
    keys: int
    values: int
    scales: int
    """Of keys, and as many of values; none in a cache of float32."""


@dataclass(frozen=True)
class MemoryPlan:
    """The sizes of everything that generated code keeps; counts are elements unless they say bytes."""

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
    """A head's elements in the key cache: in whole steps of the integer kernel, when that is what reads it"""
    head_padded: int
    """A head's elements in the value cache."""
    value_positions: int
    """Positions in an 8-bit value cache: in whole groups of those that vectors take together"""
    block: BlockPlan | None
    """What several positions at a time take; None: they are evaluated one by one."""
    drafts: int
    """Tokens that may be evaluated ahead."""
    ram_bytes: int
    """sizeof of the state: all the RAM that generated code uses, stack apart."""
    sections: Mapping[str, int]
    """Bytes of read-only data by what they hold; code is not among them."""
    prompt: PromptPlan | None = None
    """None: conversations begin with the start token."""

    @property
    def positions(self) -> int:
        """Evaluated together at most."""
        return 1 if self.block is None else self.block.positions

    @property
    def prompt_tokens(self) -> int:
        """That every conversation begins with, baked."""
        return 0 if self.prompt is None else self.prompt.tokens

    @property
    def rodata_bytes(self) -> int:
        return sum(self.sections.values())


def plan(
    model: QuantModel,
    kernels: KernelSet,
    tokenizer_bytes: int = 0,
    positions: int = 1,
    *,
    threads: bool = False,
    drafts: int = 0,
) -> MemoryPlan:
    """Place every buffer, for blocks of so many positions, and for a callback that divides the work of a block.

    Of up to `drafts` positions, fewer than a block has, the logits are kept beside those of the newest one.

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
    attention = [
        lifetime("scores", context_padded, "attend", "attend"),
        lifetime("mixed", config.q_dim + kernels.lanes, "attend", "wo"),
    ]
    if block is not None:
        queries = block.attend_units * block.attend_rows
        attention = [
            lifetime("scores", queries * block.scores, "attend", "attend"),
            lifetime("queries", queries * block.head_room, "attend", "attend"),
            lifetime("mixed", positions * config.q_dim, "attend", "wo"),
        ]
    demands = [
        lifetime("x", positions * dim_padded, "embed", "final_norm"),
        lifetime("n", (1 + drafts if model.is_integer else positions) * dim_padded, "attention_norm", "classify"),
        lifetime("qkv", positions * qkv_padded, "wqkv", "attend"),
        *attention,
        lifetime("h", positions * 2 * hidden_padded, "w13", "w2"),
        lifetime("odds", vocab_padded, "sample", "sample"),
    ]
    if model.is_integer and model.final_gain is None:
        demands = [demand for demand in demands if demand.name != "n"]  # x is quantised as it is
    if whole_cache:
        demands = [demand for demand in demands if demand.name != "queries"]  # they are whole numbers
    buffers = place(demands)
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


def _members(
    model: QuantModel,
    kernels: KernelSet,
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
            members.append(_member("weights", "int16_t", units * value_positions))
        members.append(_member("operand", element, operands * row))
        if model.has_groups:
            members.insert(-1, _member("offsets", "int16_t", operands * row // GROUP))
    if model.kv == "q8":
        members += [
            _member("keys", "int8_t", heads * context_padded * head_columns),
            _member("values", "int8_t", heads * value_positions * head_padded),
        ]
    return tuple(members)


def _block(
    model: QuantModel, kernels: KernelSet, positions: int, context_padded: int, head_columns: int, threads: bool
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


def _operand_row(model: QuantModel, kernels: KernelSet, head_columns: int) -> int:
    """Elements of an integer vector that serves every product, attention's among them."""
    config = model.config
    return operand_elements(max(config.dim, config.q_dim, config.hidden_dim, head_columns), kernels)


def _member(name: str, kind: str, count: int) -> Member:
    """An array whose end is a multiple of four bytes."""
    size = {"float": 4, "int32_t": 4, "int16_t": 2, "int8_t": 1}[kind]
    count = round_up(count, 4 // size)
    return Member(name, kind, count, count * size)
