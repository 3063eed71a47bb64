"""The container of a GGUF file: its metadata and the places of its tensors. metadata.py and read.py interpret them.

After the specification (github.com/ggml-org/ggml, docs/gguf.md), versions 2 and 3, little-endian:

    "GGUF", uint32 version, uint64 tensors, uint64 pairs
    pairs      string key, uint32 type, value; a string is a uint64 length and UTF-8, an array a type, a length, values
    tensors    string name, uint32 dimensions, uint64 each, innermost first, uint32 type, uint64 offset into the data
    data       from the next multiple of general.alignment on

llgen has its own reader because the file is untrusted: every length is compared with the number of bytes left before
anything is read or allocated. The reader of the `gguf` package trusts the length of an array and may fill the memory.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

from llgen.errors import LlgenError
from llgen.lfs import refuse_pointer_file
from llgen.shown import shown, shown_value

Value = int | float | bool | str | list[int] | list[float] | list[bool] | list[str]

_HINT = "copy or download it again"
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_VERSIONS = (2, 3)
_MAX_DIMENSIONS = 4


@dataclass(frozen=True)
class GgufTensor:
    """One tensor in the file."""

    shape: tuple[int, ...]
    """Outermost dimension first, as in NumPy; the file stores the innermost first."""
    kind: GGMLQuantizationType
    position: int
    """Offset in the file of the tensor's first byte."""
    row_bytes: int

    @property
    def rows(self) -> int:
        """Number of vectors along the innermost dimension."""
        return math.prod(self.shape[:-1])


@dataclass(frozen=True)
class GgufFile:
    """What a GGUF file holds, without the weights."""

    path: Path
    metadata: Mapping[str, Value]
    tensors: Mapping[str, GgufTensor]

    def read(self, name: str) -> npt.NDArray[np.uint8]:
        """The bytes of a tensor, [rows, row_bytes].

        Raises LlgenError when the file became shorter, or cannot be read.
        """
        tensor = self.tensors[name]
        try:
            with self.path.open("rb") as file:
                file.seek(tensor.position)
                data = np.fromfile(file, np.uint8, tensor.rows * tensor.row_bytes)
        except OSError as error:
            raise LlgenError(f"cannot read '{self.path}': {error.strerror}") from error
        if len(data) != tensor.rows * tensor.row_bytes:
            raise LlgenError(f"'{self.path}' became shorter while it was read", "wait until it is complete")
        return data.reshape(tensor.rows, tensor.row_bytes)


def read_container(path: Path) -> GgufFile:
    """Read metadata and the list of tensors.

    Raises LlgenError when the file is unreadable, truncated or malformed, of another version or byte order.
    """
    refuse_pointer_file(path)
    try:
        with path.open("rb") as file:
            return _read(_Cursor(file, path), path)
    except OSError as error:
        raise LlgenError(f"cannot read '{path}': {error.strerror}") from error


class _Cursor:
    """Reads values one after another from a file, and never more bytes than the file has."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self.file = file
        self.path = path
        self.size = os.fstat(file.fileno()).st_size

    def take(self, count: int, what: str) -> bytes:
        self.require(count, what)
        data = self.file.read(count)
        if len(data) != count:
            raise LlgenError(f"'{self.path}' became shorter while it was read", "wait until it is complete")
        return data

    def number(self, code: str, what: str) -> int:
        (value,) = struct.unpack(f"<{code}", self.take(struct.calcsize(f"<{code}"), what))
        return int(value)

    def string(self, what: str) -> str:
        raw = self.take(self.number("Q", f"the length of {what}"), what)
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise LlgenError(f"'{self.path}' is damaged: {what} is not UTF-8: {raw[:32]!r}", _HINT) from error

    def value(self, what: str) -> Value:
        kind = self.number("I", f"the type of {what}")
        if kind == _STRING:
            return self.string(what)
        if kind != _ARRAY:
            return self.scalars(kind, 1, what)[0]
        kind, count = self.number("I", f"the type of {what}"), self.number("Q", f"the length of {what}")
        if kind == _STRING:
            self.require(8 * count, what)
            return [self.string(f"entry {index} of {what}") for index in range(count)]
        return self.scalars(kind, count, what)

    def scalars(self, kind: int, count: int, what: str) -> list[int] | list[float] | list[bool]:
        code = _SCALARS.get(kind)
        if code is None:
            raise LlgenError(f"'{self.path}' is damaged: {what} is of type {kind}, which llgen does not know", _HINT)
        return list(struct.unpack(f"<{count}{code}", self.take(struct.calcsize(f"<{code}") * count, what)))

    def require(self, count: int, what: str) -> None:
        """Raise LlgenError unless `count` bytes are left."""
        left = self.size - self.file.tell()
        if count > left:
            raise LlgenError(
                f"'{self.path}' is truncated or damaged: {what} takes {count} bytes, and {left} are left", _HINT
            )


def _read(cursor: _Cursor, path: Path) -> GgufFile:
    cursor.take(4, "the magic")  # which detect.py knew it by
    version = cursor.number("I", "the version")
    if version not in _VERSIONS:
        swapped = int.from_bytes(version.to_bytes(4, "little"), "big") in _VERSIONS
        what = "big-endian GGUF" if swapped else f"GGUF of version {version}"
        raise LlgenError(f"'{path}' is {what}; llgen reads versions 2 and 3, little-endian", "convert it again")
    tensor_count, pair_count = cursor.number("Q", "the header"), cursor.number("Q", "the header")
    metadata: dict[str, Value] = {}
    for index in range(pair_count):
        key = cursor.string(f"key {index}")
        if key in metadata:
            raise LlgenError(f"'{path}' is damaged: it has the key '{shown(key)}' twice", _HINT)
        metadata[key] = cursor.value(f"'{shown(key)}'")
    infos = [_read_info(cursor, index) for index in range(tensor_count)]
    alignment = metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or alignment < 1:
        raise LlgenError(f"'{path}' is damaged: general.alignment is {shown_value(alignment)}", _HINT)
    start = -(-cursor.file.tell() // alignment) * alignment
    tensors: dict[str, GgufTensor] = {}
    for name, shape, kind, offset in infos:
        if name in tensors:
            raise LlgenError(f"'{path}' is damaged: it has the tensor '{shown(name)}' twice", _HINT)
        tensors[name] = _place(cursor, name, shape, kind, start + offset)
    return GgufFile(path, metadata, tensors)


def _read_info(cursor: _Cursor, index: int) -> tuple[str, tuple[int, ...], int, int]:
    name = cursor.string(f"the name of tensor {index}")
    what = f"tensor '{shown(name)}'"
    dimensions = cursor.number("I", what)
    if not 1 <= dimensions <= _MAX_DIMENSIONS:
        raise LlgenError(f"'{cursor.path}' is damaged: {what} has {dimensions} dimensions; GGUF has 1 to 4", _HINT)
    innermost_first = [cursor.number("Q", what) for _ in range(dimensions)]
    kind, offset = cursor.number("I", what), cursor.number("Q", what)
    return name, tuple(reversed(innermost_first)), kind, offset


def _place(cursor: _Cursor, name: str, shape: tuple[int, ...], kind: int, position: int) -> GgufTensor:
    try:
        known = GGMLQuantizationType(kind)
    except ValueError as error:
        raise LlgenError(
            f"'{cursor.path}': tensor '{shown(name)}' is of type {kind}, which llgen does not know"
        ) from error
    block, block_bytes = GGML_QUANT_SIZES[known]
    if shape[-1] % block:
        raise LlgenError(
            f"'{cursor.path}' is damaged: rows of '{shown(name)}' have {shape[-1]} values, no multiple of {block}",
            _HINT,
        )
    tensor = GgufTensor(shape, known, position, shape[-1] // block * block_bytes)
    end = position + tensor.rows * tensor.row_bytes
    if end > cursor.size:
        raise LlgenError(
            f"'{cursor.path}' is truncated: tensor '{shown(name)}' ends at byte {end}, and the file at {cursor.size}",
            _HINT,
        )
    return tensor
