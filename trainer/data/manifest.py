"""The manifest of a folder of tokens: what its files hold, and a check that they hold it.

`manifest.json` exists when all files are complete. Until then `unfinished.json` has the same content, for the part that
is written: the files are valid up to the lengths in it, and bytes after these lengths are not.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from llgen.codegen.model.vocabulary import Vocabulary
from llgen.whole import replacing

FORMAT = 1
MANIFEST, UNFINISHED = "manifest.json", "unfinished.json"
PARTS = ("train", "held_out")
START_BYTES = 8
"""Bytes of the start of a document in `PART-starts.bin`, little-endian."""

_DTYPES = ("<u2", "<u4")
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Shard:
    """One file of tokens."""

    tokens: int = 0
    crc32: int = 0


@dataclass(frozen=True)
class Part:
    """The files of one part, and their total content."""

    documents: int = 0
    tokens: int = 0
    """Number of tokens, including one BOS for each document."""
    text_bytes: int = 0
    """Bytes of UTF-8 text that the tokens stand for."""
    starts_crc32: int = 0
    shards: tuple[Shard, ...] = ()


@dataclass(frozen=True)
class Recipe:
    """Everything that the bytes of the tokens depend on."""

    origin: Mapping[str, Any]
    """The documents: `Source.description`, or a name for documents that do not come from a Source."""
    tokenizer: str
    """SHA-256 of the tokenizer.model."""
    vocab_size: int
    dtype: str
    """NumPy's name of the type of a token; always little-endian."""
    held_out: float
    shard_tokens: int

    @property
    def key(self) -> str:
        """A digest: equal for equal recipes, different for different recipes."""
        return hashlib.sha256(json.dumps([FORMAT, asdict(self)]).encode()).hexdigest()


@dataclass(frozen=True)
class Manifest:
    """A recipe, and the files written by it so far."""

    recipe: Recipe
    parts: Mapping[str, Part]

    def write(self, path: Path) -> None:
        """Write the manifest; `path` is always the old file or the whole new one, also after a power failure."""
        content = {"format": FORMAT, "key": self.recipe.key, **asdict(self.recipe)}
        content["parts"] = {name: asdict(part) for name, part in self.parts.items()}
        with replacing(path, durable=True) as temporary:
            temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """Read a manifest; raises OSError, ValueError, KeyError or TypeError when it is not one of this format."""
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise ValueError(f"its format is {content['format']}, not {FORMAT}")
        recipe = Recipe(**{name: content[name] for name in Recipe.__dataclass_fields__})
        if recipe.dtype not in _DTYPES or recipe.key != content["key"]:
            raise ValueError("it was changed by hand")
        return cls(recipe, {name: _part(content["parts"][name]) for name in PARTS})

    def files(self) -> dict[str, tuple[int, int]]:
        """For each file by name: its valid bytes, and their CRC-32."""
        width = np.dtype(self.recipe.dtype).itemsize
        found = {}
        for name, part in self.parts.items():
            if part.documents:
                found[starts_name(name)] = (part.documents * START_BYTES, part.starts_crc32)
            for index, shard in enumerate(part.shards):
                found[shard_name(name, index)] = (shard.tokens * width, shard.crc32)
        return found

    def verify(self, directory: Path) -> None:
        """Compare the valid bytes of each file with their CRC-32.

        Raises OSError or ValueError that names the first file that differs.
        """
        for name, (size, expected) in self.files().items():
            if _crc32(directory / name, size) != expected:
                raise ValueError(f"{name} was changed since it was written")


def _part(facts: dict[str, Any]) -> Part:
    return Part(**{**facts, "shards": tuple(Shard(**shard) for shard in facts["shards"])})


def shard_name(part: str, index: int) -> str:
    return f"{part}-{index:05d}.bin"


def starts_name(part: str) -> str:
    return f"{part}-starts.bin"


def part_files(directory: Path, part: str) -> list[Path]:
    """The existing files of a part in a folder, also those that no manifest lists."""
    return [*directory.glob(f"{part}-[0-9][0-9][0-9][0-9][0-9].bin"), *directory.glob(starts_name(part))]


def tokenizer_digest(vocabulary: Vocabulary) -> str:
    """A digest that identifies a tokenizer by its content."""
    return hashlib.sha256(vocabulary.identity).hexdigest()


def _crc32(path: Path, size: int) -> int:
    """The CRC-32 of the first `size` bytes; raises ValueError when the file has fewer."""
    crc = 0
    with path.open("rb") as file:
        while size:
            chunk = file.read(min(size, _CHUNK_BYTES))
            if not chunk:
                raise ValueError(f"{path.name} is {size} bytes too short")
            crc = zlib.crc32(chunk, crc)
            size -= len(chunk)
    return crc
