"""Reads tokens from disk: files are mapped into memory by the operating system, and never loaded as a whole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from llgen.codegen.model.vocabulary import Vocabulary
from llgen.errors import LlgenError
from llgen.shown import shown_error

from .manifest import MANIFEST, PARTS, Manifest, Recipe, shard_name, starts_name, tokenizer_digest

Tokens = npt.NDArray[Any]
"""Tokens of 16 or 32 bits."""


@dataclass(frozen=True)
class TokenStream:
    """The tokens of one part, as if its shards were one array."""

    shards: tuple[Tokens, ...]
    starts: npt.NDArray[np.uint64]
    """Index of the first token of each document, ascending."""
    text_bytes: int
    """Bytes of UTF-8 text that the tokens stand for."""

    def __len__(self) -> int:
        return int(self._offsets[-1])

    def window(self, starts: npt.NDArray[np.int64], length: int) -> npt.NDArray[np.int64]:
        """The `length` tokens from each start on, [len(starts), length]; a window may extend over several shards."""
        windows = np.empty((len(starts), length), dtype=np.int64)
        for row, start in zip(windows, starts.tolist(), strict=True):
            at = 0
            for piece in self._pieces(start, start + length):
                row[at : at + len(piece)] = piece
                at += len(piece)
        return windows

    def documents(self) -> Iterator[Tokens]:
        """The tokens of each document, BOS first."""
        ends = [*map(int, self.starts[1:]), len(self)]
        for start, end in zip(map(int, self.starts), ends, strict=True):
            yield np.concatenate(list(self._pieces(start, end)))

    @cached_property
    def _offsets(self) -> npt.NDArray[np.int64]:
        """Index of the first token of each shard, and after them the number of all tokens."""
        return np.cumsum([0, *map(len, self.shards)])

    def _pieces(self, start: int, end: int) -> Iterator[Tokens]:
        index = int(self._offsets.searchsorted(start, side="right")) - 1
        while start < end:
            begins = int(self._offsets[index])
            piece = self.shards[index][start - begins : end - begins]
            yield piece
            start += len(piece)
            index += 1


@dataclass(frozen=True)
class TokenizedData:
    """Tokens for training, and tokens held out for evaluation."""

    train: TokenStream
    held_out: TokenStream
    recipe: Recipe
    """What the tokens were made from."""

    @property
    def vocab_size(self) -> int:
        return self.recipe.vocab_size

    def require(self, sequence_length: int, vocabulary: Vocabulary) -> None:
        """Raise LlgenError when a part is too short for one sequence, or another tokenizer made the tokens."""
        if self.recipe.tokenizer != tokenizer_digest(vocabulary):
            raise LlgenError(
                "the tokens were made with another tokenizer", "tokenise the text again with this tokenizer"
            )
        for name, part in (("to train on", self.train), ("held out for evaluation", self.held_out)):
            if len(part) <= sequence_length:
                raise LlgenError(
                    f"the text has {len(part)} tokens {name}; one sequence takes {sequence_length + 1}",
                    f"--set model.max_seq_len={max(min(len(self.train), len(self.held_out)) - 1, 2)}, or more text",
                )


def is_tokenized(path: Path) -> bool:
    """Whether a folder holds finished tokens, and not text."""
    return (path / MANIFEST).is_file()


def open_tokenized(directory: Path, *, verify: bool = False) -> TokenizedData:
    """Open the tokens that `tokenize` finished in a folder; the tokens stay on disk.

    Raises LlgenError when the folder has no finished tokens, or a file has another length than the manifest tells. With
    `verify`, all files are read, and LlgenError is raised when one was changed.
    """
    path = directory / MANIFEST
    try:
        manifest = Manifest.read(path)
        _require_sizes(manifest, directory)
        if verify:
            manifest.verify(directory)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise LlgenError(
            f"'{directory}' does not hold finished tokens: there is no {Path(error.filename).name}",
            "make them with `llgen data prepare`",
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LlgenError(
            f"'{path}' does not describe its folder: {shown_error(error)}",
            "make the tokens again with `llgen data prepare`",
        ) from error
    train, held_out = (_stream(directory, name, manifest) for name in PARTS)
    return TokenizedData(train, held_out, manifest.recipe)


def _require_sizes(manifest: Manifest, directory: Path) -> None:
    for name, (size, _) in manifest.files().items():
        found = (directory / name).stat().st_size
        if found != size:
            raise ValueError(f"{name} has {found} bytes, not {size}")


def _stream(directory: Path, name: str, manifest: Manifest) -> TokenStream:
    part, dtype = manifest.parts[name], manifest.recipe.dtype
    shards = [np.memmap(directory / shard_name(name, index), dtype, mode="r") for index in range(len(part.shards))]
    starts = np.memmap(directory / starts_name(name), "<u8", mode="r") if part.documents else np.empty(0, np.uint64)
    return TokenStream(tuple(map(np.asarray, shards)), np.asarray(starts), part.text_bytes)
