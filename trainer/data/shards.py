"""Tokens on disk: written once, as plain arrays that the operating system maps into memory when they are read.

A folder holds, for each part (`train`, `held_out`), little-endian tokens in `PART-00000.bin` and so on, 16 bits each
when the vocabulary allows, 32 otherwise; `PART-starts.bin`, where the documents begin, 64 bits each; and
`manifest.json`, which says what they hold. BOS stands in front of every document. While it is being written, the
manifest is called `unfinished.json` and tells how far the files reach that can be relied on: writing goes on there
after an interruption, to the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from llgen.codegen.errors import LlgenError
from llgen.codegen.vocabulary import Vocabulary

FORMAT = 1
MANIFEST, UNFINISHED = "manifest.json", "unfinished.json"
PARTS = ("train", "held_out")
_SHARD_TOKENS = 1 << 25
_ROUND_DOCUMENTS = 2_000
"""Documents that are tokenised together; after each such round the journal is written."""

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
        return sum(map(len, self.shards))

    def window(self, starts: npt.NDArray[np.int64], length: int) -> npt.NDArray[np.int64]:
        """The `length` tokens from each start on, [len(starts), length]."""
        if len(self.shards) == 1:
            windows: npt.NDArray[np.int64] = self.shards[0][starts[:, np.newaxis] + np.arange(length)].astype(np.int64)
            return windows
        return np.stack([self._slice(int(start), int(start) + length) for start in starts]).astype(np.int64)

    def documents(self) -> Iterator[Tokens]:
        """The tokens of each document, BOS first."""
        ends = [*map(int, self.starts[1:]), len(self)]
        for start, end in zip(map(int, self.starts), ends, strict=True):
            yield self._slice(start, end)

    @cached_property
    def _offsets(self) -> npt.NDArray[np.int64]:
        return np.cumsum([0, *map(len, self.shards)])

    def _slice(self, start: int, end: int) -> Tokens:
        parts = []
        index = int(np.searchsorted(self._offsets, start, side="right")) - 1
        while start < end:
            offset = int(self._offsets[index])
            part = self.shards[index][start - offset : end - offset]
            parts.append(part)
            start += len(part)
            index += 1
        return np.concatenate(parts) if len(parts) != 1 else parts[0]


@dataclass(frozen=True)
class TokenizedData:
    """Tokens to learn from and tokens held out."""

    train: TokenStream
    held_out: TokenStream
    vocab_size: int
    tokenizer: str
    """Digest of the tokenizer that made the tokens."""
    key: str
    """Digest of all that the tokens were made from; see `tokenize`."""

    def require(self, sequence_length: int, vocabulary: Vocabulary) -> None:
        """Raise LlgenError when a part is too short for one sequence, or the tokens are another vocabulary's."""
        if self.tokenizer != tokenizer_digest(vocabulary):
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


def open_tokenized(directory: Path) -> TokenizedData:
    """The data that `tokenize` finished in a folder; the tokens stay on disk.

    Raises LlgenError when there is none, or a file is not as long as the manifest says.
    """
    path = directory / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        if manifest["format"] != FORMAT:
            raise ValueError(f"its format is {manifest['format']}, not {FORMAT}")
        train, held_out = (_open_part(directory, name, manifest["parts"][name], manifest["dtype"]) for name in PARTS)
        return TokenizedData(train, held_out, manifest["vocab_size"], manifest["tokenizer"], manifest["key"])
    except FileNotFoundError as error:
        raise LlgenError(f"'{directory}' does not hold finished tokens", "llgen data prepare") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LlgenError(f"'{path}' does not describe its folder: {error}", "tokenise the text again") from error


def _open_part(directory: Path, name: str, facts: dict[str, Any], dtype: str) -> TokenStream:
    shards = []
    for index, tokens in enumerate(facts["shards"]):
        path = directory / shard_name(name, index)
        size = np.dtype(dtype).itemsize * tokens["tokens"]
        if path.stat().st_size != size:
            raise ValueError(f"{path.name} has {path.stat().st_size} bytes, not {size}")
        shards.append(np.memmap(path, dtype=dtype, mode="r"))
    starts = np.fromfile(directory / f"{name}-starts.bin", dtype="<u8")
    if len(starts) != facts["documents"]:
        raise ValueError(f"{name}-starts.bin tells of {len(starts)} documents, not {facts['documents']}")
    return TokenStream(tuple(shards), starts, facts["text_bytes"])


# ---------------------------------------------------------------------------------------------------------- writing


@dataclass
class _Shard:
    tokens: int = 0
    crc32: int = 0


@dataclass
class _Part:
    """What was written of one part; all that going on needs."""

    shards: list[_Shard] = field(default_factory=list)
    documents: int = 0
    tokens: int = 0
    text_bytes: int = 0


def tokenize(
    documents: Iterable[str],
    vocabulary: Vocabulary,
    directory: Path,
    *,
    held_out: float = 0.05,
    key: str = "",
    told: Callable[[int], None] = lambda documents: None,
    threads: int | None = None,
    shard_tokens: int = _SHARD_TOKENS,
) -> TokenizedData:
    """Write the tokens of documents to a folder, or return those that are there if they have the same key.

    One document of every 1 / `held_out` is held out; of fewer documents than that, the end of the last. `key` tells
    what the documents are; it, the tokenizer and the settings decide whether old files are gone on with, or replaced.
    Raises LlgenError when there is no document, and what `documents` raises.
    """
    whole_key = _digest(key, tokenizer_digest(vocabulary), str(held_out), str(shard_tokens))
    if is_tokenized(directory):
        there = open_tokenized(directory)
        if there.key == whole_key:
            return there
    directory.mkdir(parents=True, exist_ok=True)
    writer = _Writer(directory, vocabulary, whole_key, shard_tokens)
    done = writer.resume()
    split = _split(documents, held_out)
    for _ in islice(split, done):
        pass
    while batch := list(islice(split, _ROUND_DOCUMENTS)):
        ids = vocabulary.processor.encode([text for _, text in batch], num_threads=threads or os.cpu_count() or 1)
        for (part, text), tokens in zip(batch, ids, strict=True):
            writer.add(part, tokens, len(text.encode()))
        writer.commit()
        done += len(batch)
        told(done)
    if not done:
        raise LlgenError("there is no text to tokenise", "give a source that holds some")
    writer.finish()
    return open_tokenized(directory)


def tokenizer_digest(vocabulary: Vocabulary) -> str:
    """Names a tokenizer by its content."""
    return hashlib.blake2b(vocabulary.proto, digest_size=16).hexdigest()


def shard_name(part: str, index: int) -> str:
    return f"{part}-{index:05d}.bin"


def _digest(*texts: str) -> str:
    return hashlib.blake2b("\0".join(texts).encode(), digest_size=16).hexdigest()


def _split(documents: Iterable[str], held_out: float) -> Iterator[tuple[str, str]]:
    """Each document with the name of the part it belongs to."""
    every = max(2, round(1.0 / held_out))
    rest = iter(documents)
    first = list(islice(rest, every))
    if len(first) == every:
        for index, text in enumerate((text for part in (first, rest) for text in part), start=1):
            yield ("train" if index % every else "held_out"), text
        return
    if first:
        *whole, last = first
        cut = max(len(last) - int(sum(map(len, first)) * 2 * held_out), len(last) // 2)
        yield from (("train", text) for text in [*whole, last[:cut]] if text)
        yield "held_out", last[cut:]


class _Writer:
    """Appends tokens to the files of a folder, and keeps the journal that makes them whole again."""

    def __init__(self, directory: Path, vocabulary: Vocabulary, key: str, shard_tokens: int) -> None:
        self._directory, self._vocabulary, self._key, self._shard_tokens = directory, vocabulary, key, shard_tokens
        self._dtype = "<u2" if len(vocabulary) <= 1 << 16 else "<u4"
        self._parts = {name: _Part() for name in PARTS}
        self._pending: dict[str, list[npt.NDArray[Any]]] = {name: [] for name in PARTS}
        self._starts: dict[str, list[int]] = {name: [] for name in PARTS}

    def resume(self) -> int:
        """Cut the files back to what the journal vouches for; returns the documents they hold."""
        try:
            journal = json.loads((self._directory / UNFINISHED).read_text(encoding="utf-8"))
            if journal["key"] == self._key:
                self._parts = {
                    name: _Part(**{**facts, "shards": [_Shard(**shard) for shard in facts["shards"]]})
                    for name, facts in journal["parts"].items()
                }
        except (OSError, ValueError, KeyError, TypeError):
            pass  # nothing to go on with: begin anew
        (self._directory / MANIFEST).unlink(missing_ok=True)
        for name, part in self._parts.items():
            for path in self._directory.glob(f"{name}-*.bin"):
                if path.name not in {shard_name(name, index) for index in range(len(part.shards))}:
                    path.unlink() if path.name != f"{name}-starts.bin" else None
            for index, shard in enumerate(part.shards):
                self._truncate(shard_name(name, index), shard.tokens * np.dtype(self._dtype).itemsize)
            self._truncate(f"{name}-starts.bin", part.documents * 8)
        return sum(part.documents for part in self._parts.values())

    def _truncate(self, name: str, size: int) -> None:
        with (self._directory / name).open("ab") as file:
            file.truncate(size)

    def add(self, name: str, tokens: list[int], text_bytes: int) -> None:
        """Take one document's tokens; `commit` writes them."""
        part = self._parts[name]
        self._starts[name].append(part.tokens)
        self._pending[name].append(np.array([self._vocabulary.bos_id, *tokens], dtype=self._dtype))
        part.documents += 1
        part.tokens += len(tokens) + 1
        part.text_bytes += text_bytes

    def commit(self) -> None:
        """Write what was added, then the journal that vouches for it."""
        for name, part in self._parts.items():
            if self._pending[name]:
                self._append(name, part, np.concatenate(self._pending[name]))
            self._write(f"{name}-starts.bin", np.array(self._starts[name], dtype="<u8").tobytes())
            self._pending[name], self._starts[name] = [], []
        self._write_journal(UNFINISHED)

    def _append(self, name: str, part: _Part, tokens: npt.NDArray[Any]) -> None:
        while len(tokens):
            if not part.shards or part.shards[-1].tokens == self._shard_tokens:
                part.shards.append(_Shard())
            shard = part.shards[-1]
            piece = tokens[: self._shard_tokens - shard.tokens]
            data = piece.tobytes()
            self._write(shard_name(name, len(part.shards) - 1), data)
            shard.tokens += len(piece)
            shard.crc32 = zlib.crc32(data, shard.crc32)
            tokens = tokens[len(piece) :]

    def _write(self, name: str, data: bytes) -> None:
        with (self._directory / name).open("ab") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())

    def _write_journal(self, name: str) -> None:
        content = {
            "format": FORMAT,
            "key": self._key,
            "tokenizer": tokenizer_digest(self._vocabulary),
            "vocab_size": len(self._vocabulary),
            "dtype": self._dtype,
            "parts": {part: asdict(facts) for part, facts in self._parts.items()},
        }
        temporary = self._directory / f"{name}.new"
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        temporary.replace(self._directory / name)

    def finish(self) -> None:
        """Say that all is there."""
        self._write_journal(MANIFEST)
        (self._directory / UNFINISHED).unlink(missing_ok=True)
