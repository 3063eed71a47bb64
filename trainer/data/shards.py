"""Writes tokens to disk once, so that runs can map them into memory.

For each part (`train`, `held_out`), a folder holds little-endian tokens in `PART-00000.bin` and so on, and the starts
of documents in `PART-starts.bin`. A token has 16 bits if the vocabulary allows it, else 32; a start has 64 bits. BOS is
the first token of each document. `manifest.json` describes the files. After an interruption, writing continues from the
state in `unfinished.json`, with the same bytes as a result.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np

from llgen.codegen.model.vocabulary import Vocabulary
from llgen.errors import LlgenError
from llgen.sole_writer import holds_passing, sole_writer
from llgen.whole import cannot_write

from .manifest import (
    MANIFEST,
    PARTS,
    START_BYTES,
    UNFINISHED,
    Manifest,
    Part,
    Recipe,
    Shard,
    part_files,
    shard_name,
    starts_name,
    tokenizer_digest,
)
from .sources import Source
from .stream import TokenizedData, Tokens, is_tokenized, open_tokenized

SHARD_TOKENS = 1 << 25
"""Maximum number of tokens in a file: 64 MiB of 16-bit tokens."""
_ROUND_CHARACTERS = 1 << 22
"""Characters that are tokenised together; then the journal, `unfinished.json`, is written."""


def tokenize(
    documents: Source | Iterable[str],
    vocabulary: Vocabulary,
    directory: Path,
    *,
    held_out: float = 0.05,
    key: str = "",
    told: Callable[[int], None] = lambda read: None,
    threads: int | None = None,
    shard_tokens: int = SHARD_TOKENS,
) -> TokenizedData:
    """Write the tokens of documents to a folder; tokens that exist there, of the same recipe, are returned.

    One of every 1 / `held_out` documents is held out; with fewer documents, the end of the last one. `key` names
    documents that do not come from a Source. Existing files are returned, continued or replaced, depending on whether
    documents, tokenizer and settings are the same. `told` is called with the number of bytes read from a Source.
    Raises LlgenError when there is no document, the tokenizer has no BOS, the folder cannot be written, or the
    documents cannot be read.
    """
    if vocabulary.bos_id < 0:
        raise LlgenError(
            "the tokenizer has no BOS piece, which begins every document", "use a tokenizer with BOS, such as Llama's"
        )
    recipe = Recipe(
        origin=documents.description if isinstance(documents, Source) else {"name": key},
        tokenizer=tokenizer_digest(vocabulary),
        vocab_size=len(vocabulary),
        dtype="<u2" if len(vocabulary) <= 1 << 16 else "<u4",
        held_out=held_out,
        shard_tokens=shard_tokens,
    )
    there = _finished(directory, recipe)
    if there is not None and not holds_passing(directory):
        return there
    with sole_writer(directory):  # at its end it removes the lock of one that was killed, too
        there = _finished(directory, recipe)  # another process may have written them meanwhile
        if there is not None:
            return there
        writer = _Writer(directory, recipe, vocabulary.bos_id)
        rest = _split(documents.documents(told) if isinstance(documents, Source) else documents, held_out)
        done = sum(1 for _ in islice(rest, writer.resume()))
        for batch in _rounds(rest):
            texts = [text for _, text in batch]
            # SentencePiece's threads make it 1.6 times as fast on two cores; a pool of processes made it 1.3 times.
            ids = vocabulary.encode_all(texts, threads or os.cpu_count() or 1)
            for (part, text), tokens in zip(batch, ids, strict=True):
                writer.add(part, tokens, len(text.encode()))
            writer.commit()
            done += len(batch)
        if not done:
            raise LlgenError("there is no text to tokenise", "give a source with text")
        writer.finish()
    return open_tokenized(directory)


def _finished(directory: Path, recipe: Recipe) -> TokenizedData | None:
    """The tokens in the folder, if they are complete and of the same recipe; else None."""
    if not is_tokenized(directory):
        return None
    try:
        there = open_tokenized(directory, verify=True)
    except LlgenError:
        return None  # damaged, or of another version: tokenise again
    return there if there.recipe.key == recipe.key else None


def _split(documents: Iterable[str], held_out: float) -> Iterator[tuple[str, str]]:
    """Each document, with the name of its part."""
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


def _rounds(documents: Iterable[tuple[str, str]]) -> Iterator[list[tuple[str, str]]]:
    held: list[tuple[str, str]] = []
    characters = 0
    for document in documents:
        held.append(document)
        characters += len(document[1])
        if characters >= _ROUND_CHARACTERS:
            yield held
            held, characters = [], 0
    if held:
        yield held


class _Writer:
    """Appends tokens to the files of a folder, and writes the journal, from which an interrupted call continues."""

    def __init__(self, directory: Path, recipe: Recipe, bos_id: int) -> None:
        self._directory, self._recipe, self._bos_id = directory, recipe, bos_id
        self._parts = {name: Part() for name in PARTS}
        self._pending: dict[str, list[Tokens]] = {name: [] for name in PARTS}
        self._starts: dict[str, list[int]] = {name: [] for name in PARTS}
        self._is_clean = False

    def resume(self) -> int:
        """The number of documents that are written already; changes no file."""
        journal = self._journal()
        if journal is not None:
            self._parts = dict(journal.parts)
        return sum(part.documents for part in self._parts.values())

    def _clean(self) -> None:
        """Cut the files to the lengths in the journal, and delete all others.

        This is done before the first write, so that a text that cannot be read leaves earlier tokens unchanged.
        """
        (self._directory / MANIFEST).unlink(missing_ok=True)
        kept = self._manifest().files()
        for name in PARTS:
            for path in part_files(self._directory, name):
                if path.name in kept:
                    os.truncate(path, kept[path.name][0])
                else:
                    path.unlink()
        self._is_clean = True

    def _journal(self) -> Manifest | None:
        """The journal, if it is of the same recipe and the files match it; else None."""
        try:
            journal = Manifest.read(self._directory / UNFINISHED)
            if journal.recipe.key == self._recipe.key:
                journal.verify(self._directory)
                return journal
        except (OSError, ValueError, KeyError, TypeError):
            pass  # nothing to continue: start from the beginning
        return None

    def add(self, name: str, tokens: list[int], text_bytes: int) -> None:
        """Add the tokens of one document; `commit` writes them."""
        if not self._is_clean:
            self._clean()
        part = self._parts[name]
        self._starts[name].append(part.tokens)
        self._pending[name].append(np.array([self._bos_id, *tokens], dtype=self._recipe.dtype))
        self._parts[name] = replace(
            part,
            documents=part.documents + 1,
            tokens=part.tokens + len(tokens) + 1,
            text_bytes=part.text_bytes + text_bytes,
        )

    def commit(self) -> None:
        """Write the added tokens, then the journal that describes them."""
        for name in PARTS:
            if not self._pending[name]:
                continue
            part = self._parts[name]
            starts = np.array(self._starts[name], dtype=f"<u{START_BYTES}").tobytes()
            self._append(starts_name(name), starts)
            self._parts[name] = replace(
                part,
                starts_crc32=zlib.crc32(starts, part.starts_crc32),
                shards=self._appended(name, part.shards, np.concatenate(self._pending[name])),
            )
            self._pending[name], self._starts[name] = [], []
        self._manifest().write(self._directory / UNFINISHED)

    def _appended(self, name: str, old: tuple[Shard, ...], tokens: Tokens) -> tuple[Shard, ...]:
        shards = list(old)
        while len(tokens):
            if not shards or shards[-1].tokens == self._recipe.shard_tokens:
                shards.append(Shard())
            last = shards[-1]
            piece = tokens[: self._recipe.shard_tokens - last.tokens]
            data = piece.tobytes()
            self._append(shard_name(name, len(shards) - 1), data)
            shards[-1] = Shard(last.tokens + len(piece), zlib.crc32(data, last.crc32))
            tokens = tokens[len(piece) :]
        return tuple(shards)

    def _append(self, name: str, data: bytes) -> None:
        path = self._directory / name
        try:
            with path.open("ab") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())  # the data must be on the disk before the journal that describes it
        except OSError as error:
            raise cannot_write(path, error) from error

    def _manifest(self) -> Manifest:
        return Manifest(self._recipe, self._parts)

    def finish(self) -> None:
        """Write `manifest.json`, which marks the folder as complete."""
        if not self._is_clean:
            self._clean()
        self._manifest().write(self._directory / MANIFEST)
        (self._directory / UNFINISHED).unlink(missing_ok=True)
