"""The yardstick: a plain float32 decoder in C (templates/tools/yardstick.c), compiled by an installed compiler."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..model.architectures import tensor_shapes
from ..model.checkpoint import Checkpoint
from .engine import Engine, Work
from .native import NativeTool, compile_tool


def compile_yardstick(march: str | None = "native") -> NativeTool:
    """Compile the yardstick with all optimisations; raises LlgenError as `compile_tool` does."""
    return compile_tool("yardstick", fast_math=True, march=march)


def yardstick_engine(tool: NativeTool, weights: Path, positions: int) -> Engine:
    """The yardstick as an engine that decodes; `weights` is a file of `write_weights`."""
    words = [str(tool.program), str(weights), "decode", str(positions)]
    work = Work("decode", positions)
    return Engine("yardstick", "f32", 1, work, lambda repeats: [*words, str(repeats)], isa=tool.isa)


def write_weights(checkpoint: Checkpoint, path: Path) -> None:
    """Write the file that yardstick.c reads: sizes, then the tensors in the order in which a forward pass uses them."""
    config = checkpoint.config
    sizes = (
        config.dim,
        config.hidden_dim,
        config.n_layers,
        config.n_heads,
        config.n_kv_heads,
        config.head_dim,
        config.vocab_size,
        config.tied,
        config.start_id,
    )
    with path.open("wb") as file:
        file.write(np.array(sizes, np.int32).tobytes())
        file.write(np.array((config.norm_eps, config.rope_amplitude), np.float32).tobytes())
        file.write(config.rope_frequencies().astype(np.float32).tobytes())
        for name in tensor_shapes(config):
            file.write(np.ascontiguousarray(checkpoint.tensors[name]).data)
