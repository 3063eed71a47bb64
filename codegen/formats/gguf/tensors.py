"""The numbers of a tensor in a GGUF file, of any type that the `gguf` package can dequantise, as float32."""

from __future__ import annotations

import numpy as np
from gguf.quants import dequantize

from llgen.errors import LlgenError

from ...contract.numerics import Array
from .container import GgufFile


def read_tensor(file: GgufFile, name: str, shape: tuple[int, ...]) -> Array:
    """Read a tensor; raises LlgenError for another shape, and for a type that cannot be dequantised."""
    tensor = file.tensors[name]
    if tensor.shape != shape:
        raise LlgenError(f"'{file.path}': tensor '{name}' has shape {tensor.shape}; the metadata ask for {shape}")
    try:
        with np.errstate(all="ignore"):  # Checkpoint refuses what is not finite, by name
            values = dequantize(file.read(name), tensor.kind)
    except NotImplementedError as error:
        raise LlgenError(
            f"'{file.path}': tensor '{name}' is {tensor.kind.name}, which cannot be turned into float32",
            "import the model's F16, BF16 or Q8_0",
        ) from error
    return np.asarray(values, dtype=np.float32).reshape(shape)
