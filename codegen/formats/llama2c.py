"""Read a llama2.c checkpoint (v0, v1 or v2) into a Checkpoint.

The three forms and their order of tensors are described in llama2c_header.py. Two things change on the way:
Q8_0 weights become float32, and the rows of wq and wk go from llama2.c's order, in which RoPE rotates the
elements 2i and 2i + 1 of a head, to Hugging Face's, in which it rotates i and i + head_dim / 2.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from ..checkpoint import Checkpoint, Tensor
from ..config import ModelConfig
from ..errors import LlgenError
from ..vocabulary import Vocabulary
from .llama2c_header import HEADER_BYTES, Header, StoredTensor, parse_header, stored_tensors


def read_header(path: Path) -> Header:
    """Read and check the header alone.

    Raises LlgenError as `parse_header` does, and for an unreadable file.
    """
    try:
        with path.open("rb") as file:
            return parse_header(file.read(HEADER_BYTES), str(path))
    except OSError as error:
        raise LlgenError(f"cannot read '{path}': {error.strerror}") from error


def read_llama2c(path: Path, vocabulary: Vocabulary | None) -> Checkpoint:
    """Read a checkpoint file, and give it the tokenizer it was trained with.

    Nothing is allocated before the header has been checked and the file found to be exactly as long as it asks for.
    Raises LlgenError for an unreadable file, a bad header, a wrong size, a tokenizer of another vocabulary size and
    weights that are not finite.
    """
    header = read_header(path)
    config = adopt_tokens(header.config, vocabulary)
    stored = stored_tensors(header)
    tensors: dict[str, Tensor] = {}
    try:
        with path.open("rb") as file:
            _check_size(str(path), os.fstat(file.fileno()).st_size, header, stored)
            file.seek(header.size)
            for tensor in stored:
                if tensor.name is None:
                    file.seek(tensor.nbytes, os.SEEK_CUR)
                else:
                    tensors[tensor.name] = _to_half_split(tensor.name, _read_tensor(file, tensor), config)
    except OSError as error:
        raise LlgenError(f"cannot read '{path}': {error.strerror}") from error
    return Checkpoint(path.stem, config, tensors, vocabulary)


def adopt_tokens(config: ModelConfig, vocabulary: Vocabulary | None) -> ModelConfig:
    """Take BOS and EOS from a tokenizer, where it has them.

    Raises LlgenError when it is of another vocabulary size.
    """
    if vocabulary is None:
        return config
    if len(vocabulary) != config.vocab_size:
        raise LlgenError(
            f"the tokenizer holds {len(vocabulary)} pieces; the model has {config.vocab_size}",
            "give the tokenizer that the model was trained with",
        )
    return replace(
        config,
        bos_id=config.bos_id if vocabulary.bos_id < 0 else vocabulary.bos_id,
        eos_id=config.eos_id if vocabulary.eos_id < 0 else vocabulary.eos_id,
    )


def _check_size(source: str, found: int, header: Header, stored: list[StoredTensor]) -> None:
    expected = header.size + sum(tensor.nbytes for tensor in stored)
    if found == expected:
        return
    extra = found - expected
    verdict = "is truncated" if extra < 0 else f"has {extra} byte{'' if extra == 1 else 's'} too many"
    raise LlgenError(
        f"'{source}' {verdict}: it has {found} bytes, and its header ({header.description}) asks for {expected}",
        "copy or download it again; if it is complete, it is no llama2.c checkpoint",
    )


def _read_tensor(file: BinaryIO, stored: StoredTensor) -> Tensor:
    if stored.group_size is None:
        values = _read_values(file, "<f4", stored.count)
    else:
        integers = _read_values(file, "i1", stored.count).reshape(-1, stored.group_size)
        scales = _read_values(file, "<f4", len(integers))
        with np.errstate(over="ignore", invalid="ignore"):  # Checkpoint refuses what is not finite, by name
            values = integers * scales[:, np.newaxis]
    return np.asarray(values, dtype=np.float32).reshape(stored.shape)


def _read_values(file: BinaryIO, dtype: str, count: int) -> npt.NDArray[Any]:
    values = np.fromfile(file, dtype, count)
    if len(values) != count:
        raise LlgenError(f"'{file.name}' became shorter while it was read", "wait until it is complete")
    return values


def _to_half_split(name: str, tensor: Tensor, config: ModelConfig) -> Tensor:
    """Reorder the rows [heads, pair, 2] of wq and wk to [heads, 2, pair]; give others back as they are."""
    if not name.endswith(("q_proj.weight", "k_proj.weight")):
        return tensor
    rows, columns = tensor.shape
    by_pair = tensor.reshape(rows // config.head_dim, config.head_dim // 2, 2, columns)
    return by_pair.swapaxes(1, 2).reshape(rows, columns)
