"""Tokens on disk as they are read: mapped into memory by the operating system, never loaded as a whole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from llgen.codegen.errors import LlgenError
from llgen.codegen.vocabulary import Vocabulary

from .manifest import MANIFEST, PARTS, Manifest, Recipe, shard_name, starts_name, tokenizer_digest

Tokens = npt.NDArray[Any]
"""16 or 32 bits each."""


@dataclass(frozen=True)
class TokenStream:
    """The tokens of one part, as if its shards were one array."""

    shards: tuple[Tokens, ...]
    starts: npt.NDArray[np.uint64]
    """Where documents begin, ascending."""
    text_bytes: int
    """Bytes of UTF-8 that the tokens stand for."""

    def __len__(self) -> int:
        return int(self._offsets[-1])

    def window(self, starts: npt.NDArray[np.int64], length: int) -> npt.NDArray[np.int64]:
        """The `length` tokens from each start on, [len(starts), length]; they may lie in several shards."""
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
        """Where each shard begins, and where the last one ends."""
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
    """Tokens to learn from and tokens held out."""

    train: TokenStream
    held_out: TokenStream
    recipe: Recipe
    """What they were made from."""

    @property
    def vocab_size(self) -> int:
        return self.recipe.vocab_size

    def require(self, sequence_length: int, vocabulary: Vocabulary) -> None:
        """Raise LlgenError when a part is too short for one sequence, or the tokens are another vocabulary's."""
        if self.recipe.tokenizer != tokenizer_digest(vocabulary):
            raise LlgenError("the tokens were made with another tokenizer", "tokenise the text again with this one")
        for name, part in (("to train on", self.train), ("held out for evaluation", self.held_out)):
            if len(part) <= sequence_length:
                raise LlgenError(
                    f"the text has {len(part)} tokens {name}; one sequence takes {sequence_length + 1}",
                    f"give more text, or a model.max_seq_len below {max(len(part), 3)}",
                )


def is_tokenized(path: Path) -> bool:
    """Whether a folder holds tokens, and not text."""
    return (path / MANIFEST).is_file()


def open_tokenized(directory: Path, *, verify: bool = False) -> TokenizedData:
    """The data that `tokenize` finished in a folder; the tokens stay on disk.

    Raises LlgenError when there is none, when a file is not as long as the manifest says, or, if all of it is to be
    read to `verify` it, does not hold what was written.
    """
    path = directory / MANIFEST
    try:
        manifest = Manifest.read(path)
        _require_sizes(manifest, directory)
        if verify:
            manifest.verify(directory)
    except FileNotFoundError as error:
        raise LlgenError(
            f"'{directory}' does not hold finished tokens: there is no {Path(error.filename).name}",
            "make them by `llgen data prepare`",
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LlgenError(
            f"'{path}' does not describe its folder: {error}", "make the tokens again by `llgen data prepare`"
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
