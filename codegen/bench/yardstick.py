"""The yardstick: a plain float32 decoder in C (templates/tools/yardstick.c), compiled for speed by what is at hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..checkpoint import Checkpoint
from .engine import Engine, Work
from .native import NativeTool, compile_tool

_TENSORS = (
    "input_layernorm",
    "self_attn.q_proj",
    "self_attn.k_proj",
    "self_attn.v_proj",
    "self_attn.o_proj",
    "post_attention_layernorm",
    "mlp.gate_proj",
    "mlp.up_proj",
    "mlp.down_proj",
)
"""Of a layer, in the order in which yardstick.c reads them."""


def compile_yardstick(march: str | None = "native") -> NativeTool:
    """Compile it as fast as a compiler can make it; raises LlgenError as `compile_tool` does."""
    return compile_tool("yardstick", fast_math=True, march=march)


def yardstick_engine(tool: NativeTool, weights: Path, positions: int) -> Engine:
    """Decoding with the weights of a file of `write_weights`."""
    words = [str(tool.program), str(weights), "decode", str(positions)]
    work = Work("decode", positions)
    return Engine("yardstick", "f32", 1, work, lambda repeats: [*words, str(repeats)], isa=tool.isa)


def write_weights(checkpoint: Checkpoint, path: Path) -> None:
    """Write the file that yardstick.c reads."""
    config = checkpoint.config
    layers = [f"model.layers.{index}.{name}" for index in range(config.n_layers) for name in _TENSORS]
    names = ["model.embed_tokens", *layers, "model.norm", *([] if config.tied else ["lm_head"])]
    sizes = (
        config.dim,
        config.hidden_dim,
        config.n_layers,
        config.n_heads,
        config.n_kv_heads,
        config.head_dim,
        config.vocab_size,
        config.tied,
        config.bos_id,
    )
    with path.open("wb") as file:
        file.write(np.array(sizes, np.int32).tobytes())
        file.write(np.array((config.norm_eps, config.rope_theta), np.float32).tobytes())
        for name in names:
            file.write(np.ascontiguousarray(checkpoint.tensors[f"{name}.weight"]).data)
