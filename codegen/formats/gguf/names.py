"""llama.cpp's names for the tensors and the metadata of a Llama model.

The graph of the architecture holds the names. Like llama2.c, llama.cpp rotates the pairs 2i and 2i + 1: the rows of
the matrices that make queries and keys are in interleaved order (rope_rows.py).
"""

from __future__ import annotations

from ...model.architectures import graph_of
from ...model.config import ModelConfig

ARCHITECTURE = "llama"


def gguf_names(config: ModelConfig) -> dict[str, str]:
    """Map Hugging Face's name of every tensor, in the order of storage, to its name in GGUF."""
    return {tensor.name.huggingface: tensor.name.gguf for tensor in graph_of(config).tensors()}
