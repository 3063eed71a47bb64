"""A safetensors file as pieces of bytes, one tensor at a time.

`save` of the `safetensors` package returns the same bytes, with all tensors in memory at once.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ...contract.numerics import Array

_ALIGNMENT = 8
"""The header is padded with spaces to a multiple of this many bytes."""


def float32_file(tensors: Mapping[str, Array], shapes: Mapping[str, Sequence[int]]) -> Iterator[bytes]:
    """Yield the parts of a file of float32 tensors: the header, then the numbers of each tensor, by name."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in sorted(shapes):
        start, end = end, end + 4 * math.prod(shapes[name])
        header[name] = {"dtype": "F32", "shape": list(shapes[name]), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    yield len(text).to_bytes(8, "little") + text
    for name in sorted(shapes):
        yield np.ascontiguousarray(tensors[name], dtype="<f4").tobytes()
