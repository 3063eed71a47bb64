"""A baked prompt in flash: for each KV head the beginning of its cache, laid out as the state holds it.

So a program copies whole runs of memory, and its kernels do not know where keys and values came from.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from llgen.targets.instruction_sets import InstructionSet

from ..contract.numerics import LANES, Array
from ..plan.memory import MemoryPlan, PromptPlan
from ..plan.prompt import Prompt
from ..plan.sizes import round_up
from ..quantise.quantize import QuantModel
from ..reference.cache import FloatCache, IntCache
from .weights import PackedTensor, column_blocks


def with_prompt(memory: MemoryPlan, model: QuantModel, kernels: InstructionSet, tokens: int) -> MemoryPlan:
    """The plan of a program that begins with a prompt of `tokens` tokens: more flash, and the same RAM."""
    cached, whole = tokens - 1, model.kv == "q8"
    blocks = memory.block is not None
    heads = model.config.n_layers * model.config.n_kv_heads
    prompt = PromptPlan(
        tokens=tokens,
        keys=round_up(cached, _key_group(memory, kernels, whole=whole)) * memory.head_columns,
        values=(round_up(cached, kernels.value_group(blocks=blocks)) if whole else cached) * memory.head_padded,
        scales=round_up(cached, kernels.score_lanes(blocks=blocks)) if whole else 0,
    )
    number = 1 if whole else 4
    size = 4 * tokens + heads * (number * (prompt.keys + prompt.values) + 2 * 4 * prompt.scales)
    return replace(memory, prompt=prompt, sections={**memory.sections, "prompt": size})


def _key_group(memory: MemoryPlan, kernels: InstructionSet, *, whole: bool) -> int:
    """Positions whose keys lie side by side."""
    if whole:
        return kernels.block_rows(True)
    return LANES if memory.block is None else kernels.block_rows(False)


def pack_prompt(prompt: Prompt, memory: MemoryPlan, kernels: InstructionSet) -> list[PackedTensor]:
    """The constant arrays: tokens, keys, values and, of a cache of 8 bits, their scales."""
    tokens = PackedTensor("prompt_tokens", "[tokens]", "int32_t", np.array(prompt.tokens, "<i4").tobytes())
    floats = [cache for cache in prompt.caches if isinstance(cache, FloatCache)]
    if floats:
        group = _key_group(memory, kernels, whole=False)
        keys = [_each_head(cache.keys, lambda head: column_blocks(head, group)) for cache in floats]
        return [
            tokens,
            _floats("prompt_keys", f"[positions / {group}][head_dim][{group}]", keys),
            _floats(
                "prompt_values", "[positions][head_dim]", [_each_head(cache.values, np.asarray) for cache in floats]
            ),
        ]
    wholes = [cache for cache in prompt.caches if isinstance(cache, IntCache)]
    group = kernels.value_group(blocks=memory.block is not None)
    lanes = kernels.score_lanes(blocks=memory.block is not None)
    order = kernels.layout
    whole_keys = [_each_head(_bytes(cache.keys), order.eight_bits) for cache in wholes]
    whole_values = [_each_head(_bytes(cache.values), lambda head: order.cached_values(head, group)) for cache in wholes]
    return [
        tokens,
        _floats(
            "prompt_key_scales",
            "[positions]",
            [_each_head(cache.key_scales, lambda head: _padded(head, lanes)) for cache in wholes],
        ),
        _floats(
            "prompt_value_scales",
            "[positions]",
            [_each_head(cache.value_scales, lambda head: _padded(head, lanes)) for cache in wholes],
        ),
        PackedTensor("prompt_keys", _PLACES + "[blocks of positions], as matrices are", "int8_t", b"".join(whole_keys)),
        PackedTensor(
            "prompt_values", _PLACES + f"[positions / {group}][elements of so many]", "int8_t", b"".join(whole_values)
        ),
    ]


_PLACES = "[layers][KV heads]"


def _floats(name: str, shape: str, layers: list[bytes]) -> PackedTensor:
    return PackedTensor(name, _PLACES + shape, "float", b"".join(layers))


def _each_head(values: npt.NDArray[Any], lay_out: Callable[[npt.NDArray[Any]], npt.NDArray[Any]]) -> bytes:
    """[positions, KV heads, ...] -> the bytes of each head's positions, one head after the other."""
    heads = [lay_out(head) for head in np.moveaxis(values, 1, 0)]
    return b"".join(head.astype(head.dtype.newbyteorder("<")).tobytes() for head in heads)


def _bytes(values: npt.NDArray[np.int32]) -> npt.NDArray[np.int8]:
    return values.astype(np.int8)


def _padded(scales: Array, lanes: int) -> Array:
    """[positions] -> whole groups of lanes: vectors read beyond the last position, where there must be numbers."""
    return np.pad(scales, (0, -len(scales) % lanes))
