"""Read a GGUF file of a Llama model into a Checkpoint.

Weights of any type that the `gguf` package can dequantise (F32, F16, BF16, Q4_0 to Q8_0, the K- and IQ-types) become
float32, and the rows of wq and wk are put into Hugging Face's order (rope_rows.py). A tensor is read when it is used,
so that a model larger than the memory can be imported.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from gguf import GGMLQuantizationType

from llgen.errors import LlgenError
from llgen.paths import Pathlike
from llgen.shown import shown

from ...contract.numerics import Array
from ...model.architectures import tensor_shapes
from ...model.checkpoint import Checkpoint
from ...model.on_demand import OnDemand
from ...model.text_tokens import Claim
from ...model.vocabulary import Vocabulary
from ..adopt import adopt, claim_of
from ..rope_rows import to_half_split
from .container import GgufFile, read_container
from .metadata import read_config
from .names import gguf_names
from .rope import TABLE, read_scaling
from .tensors import read_tensor
from .tokenizer import claim_of_file, read_vocabulary

_WHOLE = (GGMLQuantizationType.F32, GGMLQuantizationType.F16, GGMLQuantizationType.BF16)
"""Types that convert to float32 exactly, without a scale."""


def read_gguf(
    path: Pathlike, vocabulary: Vocabulary | None, said: Sequence[Claim] = (), *, without_tokenizer: bool = False
) -> Checkpoint:
    """Read a model. `vocabulary`, or no tokenizer at all, replaces the tokenizer in the file.

    `said` holds the claims of the file that `vocabulary` came from, besides its pieces.

    Raises LlgenError for a malformed file, another architecture or tokenizer, features that llgen lacks, types that
    cannot be dequantised, and weights that are not finite.
    """
    path = Path(path)
    file = read_container(path)
    config = read_config(file)
    config = replace(config, rope_scaling=read_scaling(file, config))
    own = [claim_of_file(file)]
    if vocabulary is not None:
        config, vocabulary = adopt(config, vocabulary, [*said, claim_of(vocabulary, "the tokenizer")], own)
    else:
        config, vocabulary = adopt(config, None if without_tokenizer else read_vocabulary(file), own)
    _require_exactly(file, set(gguf_names(config).values()))
    shapes = tensor_shapes(config)
    names = gguf_names(config)

    def read(name: str) -> Array:
        return to_half_split(name, read_tensor(file, names[name], shapes[name]), config)

    return Checkpoint(path.stem, config, OnDemand(names, read), vocabulary)


def weight_types(path: Path) -> list[GGMLQuantizationType]:
    """The types of a file's tensors, the type of the most numbers first."""
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
    for name in sorted(set(file.tensors) - names - {TABLE}):
        raise LlgenError(
            f"'{file.path}' has a tensor '{shown(name)}', which is none of a plain Llama model's",
            "biases, adapters, experts and other architectures are not supported",
        )
