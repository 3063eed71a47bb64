"""Write a Checkpoint as a llama2.c checkpoint (v0, v1 or v2); llama2c_header.py says what lies where.

The rows of wq and wk go to llama2.c's order (rope_rows.py). v0 and v1 hold the weights to the bit. v2 is Q8_0: each
group of consecutive weights shares the scale max|w| / 127, and an error of up to half of it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..checkpoint import Checkpoint, Tensor
from ..config import ModelConfig
from .llama2c_header import Header, StoredTensor, pack_header, require_representable, stored_tensors
from .output import replacing
from .rope_rows import to_interleaved

GROUP_SIZE = 64
"""What llama2.c's exporter takes for v2."""


def fitting_group_size(config: ModelConfig, wanted: int = GROUP_SIZE) -> int:
    """`wanted`, halved until it divides every vector that llama2.c quantises as it runs: dim and hidden_dim.

    llama2.c's exporter looks at dim alone; where a group then straddles two rows, its runq.c computes nonsense.
    """
    while config.dim % wanted or config.hidden_dim % wanted:
        wanted //= 2
    return wanted


def write_llama2c(checkpoint: Checkpoint, path: Path, version: int, group_size: int | None = None) -> Header:
    """Write a file of `version` 0, 1 or 2, which appears whole or not at all; returns the header it got.

    `group_size` is for version 2 and must divide every matrix's size; None: `fitting_group_size`.
    Raises LlgenError for a model that llama2.c has no place for, or a `path` that cannot be written.
    """
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
    tensor = to_interleaved(stored.name, checkpoint.tensors[stored.name], config.head_dim)
    if stored.group_size is None:
        return tensor.astype("<f4").tobytes()
    integers, scales = _quantise(tensor, stored.group_size)
    return integers.tobytes() + scales.astype("<f4").tobytes()


def _quantise(tensor: Tensor, group_size: int) -> tuple[npt.NDArray[np.int8], Tensor]:
    """Integers [groups, group_size] from -127 to 127, halves rounded to even, and scales [groups]."""
    groups = tensor.reshape(-1, group_size)
    scales = np.abs(groups).max(axis=1) / np.float32(127)
    divisors = np.where(scales > 0, scales, np.float32(1))  # a group of zeros
    with np.errstate(over="ignore"):  # a scale that is subnormal: the quotient is clipped
        integers = np.rint(groups / divisors[:, np.newaxis]).clip(-127, 127)
    return integers.astype(np.int8), scales


def _rope_tables(config: ModelConfig) -> npt.NDArray[np.float32]:
    """Cosines, then sines, [2, max_seq_len, head_dim / 2], which only the first versions of run.c read.

    As llama2.c makes them: from angles in float32. Its PyTorch rounds some cosines the other way, by one unit in the
    last place.
    """
    exponents = np.arange(0, config.head_dim, 2) / config.head_dim
    frequencies = (1.0 / config.rope_theta**exponents).astype(np.float32)
    angles = np.outer(np.arange(config.max_seq_len, dtype=np.float32), frequencies).astype(np.float64)
    return np.stack((np.cos(angles), np.sin(angles))).astype("<f4")
