"""Read a llama2.c checkpoint (v0, v1 or v2) into a Checkpoint.

header.py describes the three formats and their order of tensors. Reading changes two things: Q8_0 weights become
float32, and the rows of wq and wk are put from llama2.c's order into Hugging Face's (rope_rows.py).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from llgen.errors import LlgenError
from llgen.lfs import refuse_pointer_file
from llgen.paths import Pathlike

from ...contract.numerics import Array
from ...model.checkpoint import Checkpoint
from ...model.text_tokens import Claim
from ...model.vocabulary import Vocabulary
from ..rope_rows import to_half_split
from .header import HEADER_BYTES, Header, StoredTensor, parse_header, stored_tensors
from .tokens import adopt_llama2c


def read_header(path: Path) -> Header:
    """Read and check the header alone.

    Raises LlgenError as `parse_header` does, and for an unreadable file.
    """
    refuse_pointer_file(path)
    try:
        with path.open("rb") as file:
            return parse_header(file.read(HEADER_BYTES), str(path))
    except OSError as error:
        raise LlgenError(f"cannot read '{path}': {error.strerror}") from error


def read_llama2c(path: Pathlike, vocabulary: Vocabulary | None, said: Sequence[Claim] = ()) -> Checkpoint:
    """Read a checkpoint file, and give it the tokenizer that it was trained with.

    `said` holds the claims of the tokenizer's file, besides its pieces.
    Nothing is allocated before the header is checked and the file's length is exactly what the header needs.
    Raises LlgenError for an unreadable file, a bad header, a wrong size, a tokenizer of another vocabulary size and
    weights that are not finite.
    """
    path = Path(path)
    header = read_header(path)
    config, vocabulary = adopt_llama2c(header.config, vocabulary, said)
    stored = stored_tensors(header)
    tensors: dict[str, Array] = {}
    try:
        with path.open("rb") as file:
            _check_size(str(path), os.fstat(file.fileno()).st_size, header, stored)
            file.seek(header.size)
            for tensor in stored:
                if tensor.name is None:
                    file.seek(tensor.nbytes, os.SEEK_CUR)
                else:
                    tensors[tensor.name] = to_half_split(tensor.name, _read_tensor(file, tensor), config)
    except OSError as error:
        raise LlgenError(f"cannot read '{path}': {error.strerror}") from error
    return Checkpoint(path.stem, config, tensors, vocabulary)


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


def _read_tensor(file: BinaryIO, stored: StoredTensor) -> Array:
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
