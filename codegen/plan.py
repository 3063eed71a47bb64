"""Planning memory: every buffer of the generated state, its place, and the bytes that a device must have.

The activations share one arena: two buffers may overlap when no step of the forward pass needs both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .config import ModelConfig
from .errors import ExitCode, LlgenError
from .kernels import KernelSet
from .numerics import LANES
from .quantize import QuantModel

# The steps of one position, in order; a layer repeats those from "attention_norm" to "w2".
STEPS = (
    "embed",
    "attention_norm",
    "wqkv",
    "attend",
    "wo",
    "ffn_norm",
    "w13",
    "swiglu",
    "w2",
    "final_norm",
    "classify",
    "sample",
)

WORD_ROOM = 64
"""Tokens behind the context's, so that the last word of a prompt has room while its characters are being merged."""

# Sizes are compile-time constants of 32-bit targets too.
_MAX_BYTES = (1 << 31) - 1


@dataclass(frozen=True)
class Demand:
    """A buffer that lives from the step that first writes it to the step that last reads it, both inclusive."""

    name: str
    floats: int
    first: int
    last: int


@dataclass(frozen=True)
class Buffer:
    """A demand with its place in the arena, in floats."""

    name: str
    floats: int
    first: int
    last: int
    offset: int


@dataclass(frozen=True)
class MemoryPlan:
    """The sizes of everything that generated code keeps; all counts are float32 unless they say bytes."""

    buffers: tuple[Buffer, ...]
    arena: int
    dim_padded: int
    """x and n: whole blocks of rows, and whole groups of 8 lanes; the padding holds zeros"""
    dim_rows: int
    """dim in whole blocks of rows"""
    hidden_padded: int
    qkv_padded: int
    vocab_padded: int
    context_padded: int
    """Positions in the key cache, in whole blocks of 8."""
    keys: int
    """[n_layers, n_kv_heads, context_padded / 8, head_dim, 8]"""
    values: int
    """[n_layers, n_kv_heads, context, head_dim], and slack for a vector that reads past the last head"""
    ram_bytes: int
    """sizeof of the state: all the RAM that generated code uses, stack apart."""
    sections: Mapping[str, int]
    """Bytes of read-only data by what they hold; code is not among them."""

    @property
    def rodata_bytes(self) -> int:
        return sum(self.sections.values())


def plan(model: QuantModel, kernels: KernelSet, tokenizer_bytes: int = 0) -> MemoryPlan:
    """Place every buffer.

    Raises LlgenError (does not fit) when the state or a matrix is larger than a 32-bit target can address.
    """
    config, rows = model.config, kernels.block_rows
    dim_padded = round_up(config.dim, max(rows, LANES))
    hidden_padded = round_up(config.hidden_dim, rows)
    qkv_padded = round_up(config.q_dim + 2 * config.kv_dim, rows)
    vocab_padded = round_up(config.vocab_size, rows)
    context_padded = round_up(model.context, LANES)
    demands = (
        _demand("x", dim_padded, "embed", "final_norm"),
        _demand("n", dim_padded, "attention_norm", "classify"),
        _demand("qkv", qkv_padded, "wqkv", "attend"),
        _demand("scores", context_padded, "attend", "attend"),
        _demand("mixed", config.q_dim + kernels.lanes, "attend", "wo"),
        _demand("h", 2 * hidden_padded, "w13", "w2"),
        _demand("odds", vocab_padded, "sample", "sample"),
    )
    buffers = place(demands)
    arena = max(buffer.offset + buffer.floats for buffer in buffers)
    keys = config.n_layers * config.n_kv_heads * context_padded * config.head_dim
    values = config.n_layers * config.n_kv_heads * model.context * config.head_dim + kernels.lanes
    # Two words, the tokens of the conversation, and floats: every member is four bytes, so there is no padding.
    ram_bytes = 4 * (2 + model.context + WORD_ROOM + keys + values + arena + vocab_padded)
    sections = _sections(config, model, kernels, qkv_padded, tokenizer_bytes)
    for what, size in {"the state in RAM": ram_bytes, **sections}.items():
        if size > _MAX_BYTES:
            raise LlgenError(
                f"{what} takes {size} bytes; generated C addresses at most {_MAX_BYTES}",
                "--context builds for fewer positions",
                ExitCode.DOES_NOT_FIT,
            )
    return MemoryPlan(
        buffers=buffers,
        arena=arena,
        dim_padded=dim_padded,
        dim_rows=round_up(config.dim, rows),
        hidden_padded=hidden_padded,
        qkv_padded=qkv_padded,
        vocab_padded=vocab_padded,
        context_padded=context_padded,
        keys=keys,
        values=values,
        ram_bytes=ram_bytes,
        sections=sections,
    )


def round_up(count: int, multiple: int) -> int:
    """The least multiple that is not below `count`."""
    return -(-count // multiple) * multiple


def place(demands: Sequence[Demand]) -> tuple[Buffer, ...]:
    """Give each demand an offset such that no two buffers alive at the same step overlap: largest first, lowest fit."""
    placed: list[Buffer] = []
    for demand in sorted(demands, key=lambda item: (-item.floats, item.name)):
        alive = sorted(
            (other for other in placed if other.first <= demand.last and demand.first <= other.last),
            key=lambda item: item.offset,
        )
        offset = 0
        for other in alive:
            if offset + demand.floats <= other.offset:
                break
            offset = max(offset, other.offset + other.floats)
        placed.append(Buffer(demand.name, demand.floats, demand.first, demand.last, offset))
    order = {demand.name: index for index, demand in enumerate(demands)}
    return tuple(sorted(placed, key=lambda buffer: order[buffer.name]))


def _demand(name: str, floats: int, first: str, last: str) -> Demand:
    return Demand(name, floats, STEPS.index(first), STEPS.index(last))


def _sections(
    config: ModelConfig, model: QuantModel, kernels: KernelSet, qkv_padded: int, tokenizer_bytes: int
) -> dict[str, int]:
    rows = kernels.block_rows
    dim = round_up(config.dim, rows)
    vocab = round_up(config.vocab_size, rows)
    floats = {
        "wqkv": config.n_layers * qkv_padded * config.dim,
        "wo": config.n_layers * dim * config.q_dim,
        "w13": config.n_layers * 2 * round_up(config.hidden_dim, rows) * config.dim,
        "w2": config.n_layers * dim * config.hidden_dim,
        "embedding": (vocab if model.classifier is None else config.vocab_size) * config.dim,
        "classifier": 0 if model.classifier is None else vocab * config.dim,
        "final_gain": 0 if model.final_gain is None else config.dim,
        "rope": model.context * config.head_dim,
    }
    sections = {name: 4 * count for name, count in floats.items() if count}
    if tokenizer_bytes:
        sections["tokenizer"] = tokenizer_bytes
    return sections
