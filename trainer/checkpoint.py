"""Checkpoint files, from which a run continues. They are written whole or not at all, and read without running code."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

import torch

from llgen.errors import LlgenError
from llgen.whole import replacing

LAST, BEST = "last.pt", "best.pt"
"""The files of a run's last iteration, and of its lowest held-out loss."""

FORMAT = 2


def write_checkpoint(state: Mapping[str, Any], path: Path) -> None:
    """Write a checkpoint, so that `path` is always either the old file or the whole new one.

    Raises LlgenError when the system refuses, for example because the disk is full.
    """
    with replacing(path, durable=True) as temporary, temporary.open("wb") as file:
        stream = _Remembering(file)
        try:
            torch.save({"format": FORMAT, **state}, cast(IO[bytes], stream))
        except RuntimeError:  # PyTorch raises this for any failed write and does not tell the cause
            if stream.refused is not None:
                raise stream.refused from None
            raise


class _Remembering(io.RawIOBase):
    """A file that keeps the error of a failed write in `refused`."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.refused = file, cast(OSError | None, None)

    def write(self, data: Any) -> int:
        try:
            return self._file.write(data)
        except OSError as error:
            self.refused = error
            raise

    def flush(self) -> None:
        if self.refused is None:
            self._file.flush()


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a file that `write_checkpoint` wrote.

    Raises LlgenError when the file is missing, damaged, of another version, or asks to run code.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise LlgenError(f"'{path.parent}' has no {path.name}", "is this a training run?") from error
    except Exception as error:  # damaged bytes can raise any exception; its advice is to trust the file
        raise LlgenError(
            f"'{path}' is not a readable checkpoint: it is damaged, or holds more than tensors and plain values",
            "start a new run",
        ) from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise LlgenError(f"'{path}' is not a checkpoint of this version of llgen", "start a new run")
    return state
