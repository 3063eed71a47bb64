"""Write a Checkpoint as a llama2.c checkpoint (v0, v1 or v2); header.py describes the layout.

The rows of wq and wk are put into llama2.c's order (rope_rows.py). v0 and v1 store the weights exactly. v2 is Q8_0:
each group of consecutive weights shares the scale max|w| / 127; the error of a weight is at most half a scale.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from llgen.paths import Pathlike
from llgen.whole import replacing

from ...contract.numerics import Array
from ...model.checkpoint import Checkpoint
from ...model.config import ModelConfig
from ..rope_rows import to_interleaved
from .header import Header, StoredTensor, pack_header, require_representable, stored_tensors

GROUP_SIZE = 64
"""Group size of v2 in llama2.c's exporter."""


def fitting_group_size(config: ModelConfig, wanted: int = GROUP_SIZE) -> int:
    """Halve `wanted` until it divides the vectors that llama2.c quantises while it runs, of dim and hidden_dim numbers.

    llama2.c's exporter checks only dim. When a group then spans two rows, runq.c computes wrong results.
    """
    while config.dim % wanted or config.hidden_dim % wanted:
        wanted //= 2
    return wanted


def write_llama2c(checkpoint: Checkpoint, path: Pathlike, version: int, group_size: int | None = None) -> Header:
    """Write a file of `version` 0, 1 or 2 completely or not at all; returns its header.

    `group_size` is for version 2 and must divide every matrix's size; None: `fitting_group_size`.
    Raises LlgenError for a model that llama2.c cannot represent, or a `path` that cannot be written.
    """
    path = Path(path)
    config = checkpoint.config
    require_representable(config)
    header = Header(version, config, (group_size or fitting_group_size(config)) if version == 2 else None)
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(pack_header(header))
        for stored in stored_tensors(header):
            file.write(_pack(stored, checkpoint))
    return header


def _pack(stored: StoredTensor, checkpoint: Checkpoint) -> bytes:
    config = checkpoint.config
    if stored.name is None:
        return _rope_tables(config).tobytes()
    tensor = to_interleaved(stored.name, checkpoint.tensors[stored.name], config)
    if stored.group_size is None:
        return tensor.astype("<f4").tobytes()
    integers, scales = _quantise(tensor, stored.group_size)
    return integers.tobytes() + scales.astype("<f4").tobytes()


def _quantise(tensor: Array, group_size: int) -> tuple[npt.NDArray[np.int8], Array]:
    """Return integers [groups, group_size] from -127 to 127, rounded half to even, and scales [groups]."""
    groups = tensor.reshape(-1, group_size)
    scales = np.abs(groups).max(axis=1) / np.float32(127)
    divisors = np.where(scales > 0, scales, np.float32(1))  # a group of zeros
    with np.errstate(over="ignore"):  # a scale that is subnormal: the quotient is clipped
        integers = np.rint(groups / divisors[:, np.newaxis]).clip(-127, 127)
    return integers.astype(np.int8), scales


def _rope_tables(config: ModelConfig) -> npt.NDArray[np.float32]:
    """Cosines, then sines, [2, max_seq_len, head_dim / 2], which only the first versions of run.c read.

    They are computed from angles in float32, as in llama2.c. There, PyTorch rounds some cosines to the float32 next to
    the one computed here.
    """
    exponents = np.arange(0, config.head_dim, 2) / config.head_dim
    frequencies = (1.0 / config.rope_theta**exponents).astype(np.float32)
    angles = np.outer(np.arange(config.max_seq_len, dtype=np.float32), frequencies).astype(np.float64)
    return np.stack((np.cos(angles), np.sin(angles))).astype("<f4")
