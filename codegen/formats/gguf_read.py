"""Read a GGUF file of a Llama model into a Checkpoint.

Weights of any type that the `gguf` package can take apart (F32, F16, BF16, Q4_0 to Q8_0, the K- and IQ-types) become
float32, and the rows of wq and wk go to Hugging Face's order (rope_rows.py).
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType
from gguf.quants import dequantize

from ..checkpoint import Checkpoint, Tensor
from ..errors import LlgenError
from ..vocabulary import Vocabulary
from .adopt import adopt_tokens
from .gguf_container import GgufFile, read_container
from .gguf_metadata import read_config
from .gguf_names import gguf_names
from .gguf_tokenizer import read_vocabulary
from .rope_rows import to_half_split

_WHOLE = (GGMLQuantizationType.F32, GGMLQuantizationType.F16, GGMLQuantizationType.BF16)
"""Types whose numbers are float32's as they stand."""


def read_gguf(path: Path, vocabulary: Vocabulary | None) -> Checkpoint:
    """Read a model; `vocabulary`, when given, takes the place of the file's own.

    Raises LlgenError for a malformed file, another architecture or tokenizer, features that llgen lacks, types that
    cannot be dequantised, and weights that are not finite.
    """
    file = read_container(path)
    config = read_config(file)
    if vocabulary is None:
        vocabulary = read_vocabulary(file)
    config = adopt_tokens(config, vocabulary)
    _require_exactly(file, set(gguf_names(config).values()))
    shapes = config.tensor_shapes()
    try:
        tensors = {
            name: to_half_split(name, _read_tensor(file, stored, shapes[name]), config.head_dim)
            for name, stored in gguf_names(config).items()
        }
    except OSError as error:
        raise LlgenError(f"cannot read '{path}': {error.strerror}") from error
    return Checkpoint(path.stem, config, tensors, vocabulary)


def weight_types(path: Path) -> list[GGMLQuantizationType]:
    """The types of a file's tensors, that of the most numbers first."""
    numbers: dict[GGMLQuantizationType, int] = {}
    for tensor in read_container(path).tensors.values():
        numbers[tensor.kind] = numbers.get(tensor.kind, 0) + math.prod(tensor.shape)
    return sorted(numbers, key=lambda kind: (-numbers[kind], kind.name))


def is_quantised(kind: GGMLQuantizationType) -> bool:
    """Whether numbers of this type share a scale."""
    return kind not in _WHOLE


def _require_exactly(file: GgufFile, names: set[str]) -> None:
    for name in sorted(names - set(file.tensors)):
        raise LlgenError(f"'{file.path}' has no tensor '{name}'", "convert it again")
    for name in sorted(set(file.tensors) - names):
        raise LlgenError(
            f"'{file.path}' has a tensor '{name}', which is none of a plain Llama model's",
            "biases, adapters, experts and other architectures are not supported",
        )


def _read_tensor(file: GgufFile, name: str, shape: tuple[int, ...]) -> Tensor:
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
