"""What a folder of tokens says of itself, and whether its files agree.

`manifest.json` stands where all is written. While it is being written the same content is called `unfinished.json`,
and vouches for the files up to the lengths it tells; what lies behind them was not finished.
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

from llgen.codegen.vocabulary import Vocabulary

from ..files import replacing

FORMAT = 1
MANIFEST, UNFINISHED = "manifest.json", "unfinished.json"
PARTS = ("train", "held_out")
START_BYTES = 8
"""Of one document's place in `PART-starts.bin`, little-endian."""

_DTYPES = ("<u2", "<u4")
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Shard:
    """One file of tokens."""

    tokens: int = 0
    crc32: int = 0


@dataclass(frozen=True)
class Part:
    """The files of one part, and what they hold together."""

    documents: int = 0
    tokens: int = 0
    """BOS included, one a document."""
    text_bytes: int = 0
    """Bytes of UTF-8 that the tokens stand for."""
    starts_crc32: int = 0
    shards: tuple[Shard, ...] = ()


@dataclass(frozen=True)
class Recipe:
    """All that the bytes of the tokens depend on."""

    origin: Mapping[str, Any]
    """The documents: as `Source.description` has it, or a name for those that come from elsewhere."""
    tokenizer: str
    """SHA-256 of the tokenizer.model."""
    vocab_size: int
    dtype: str
    """As NumPy spells it; always little-endian."""
    held_out: float
    shard_tokens: int

    @property
    def key(self) -> str:
        """The same for the same recipe, and for no other."""
        return hashlib.sha256(json.dumps([FORMAT, asdict(self)]).encode()).hexdigest()


@dataclass(frozen=True)
class Manifest:
    """A recipe, and how far it was carried out."""

    recipe: Recipe
    parts: Mapping[str, Part]

    def write(self, path: Path) -> None:
        """Replace a file at once, so that it is never half there, not even when the power fails."""
        content = {"format": FORMAT, "key": self.recipe.key, **asdict(self.recipe)}
        content["parts"] = {name: asdict(part) for name, part in self.parts.items()}
        with replacing(path, durable=True) as temporary:
            temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """Raises OSError, ValueError, KeyError or TypeError for what is no manifest of this format."""
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise ValueError(f"its format is {content['format']}, not {FORMAT}")
        recipe = Recipe(**{name: content[name] for name in Recipe.__dataclass_fields__})
        if recipe.dtype not in _DTYPES or recipe.key != content["key"]:
            raise ValueError("it was changed by hand")
        return cls(recipe, {name: _part(content["parts"][name]) for name in PARTS})

    def files(self) -> dict[str, tuple[int, int]]:
        """Each file by its name: bytes, and the CRC-32 of them."""
        width = np.dtype(self.recipe.dtype).itemsize
        found = {}
        for name, part in self.parts.items():
            if part.documents:
                found[starts_name(name)] = (part.documents * START_BYTES, part.starts_crc32)
            for index, shard in enumerate(part.shards):
                found[shard_name(name, index)] = (shard.tokens * width, shard.crc32)
        return found

    def verify(self, directory: Path) -> None:
        """Compare the files, as far as they are vouched for, with their CRC-32.

        Raises OSError or ValueError that names the first file that differs.
        """
        for name, (size, expected) in self.files().items():
            if _crc32(directory / name, size) != expected:
                raise ValueError(f"{name} does not hold what was written to it")


def _part(facts: dict[str, Any]) -> Part:
    return Part(**{**facts, "shards": tuple(Shard(**shard) for shard in facts["shards"])})


def shard_name(part: str, index: int) -> str:
    return f"{part}-{index:05d}.bin"


def starts_name(part: str) -> str:
    return f"{part}-starts.bin"


def part_files(directory: Path, part: str) -> list[Path]:
    """The files of a part that lie in a folder, whoever wrote them."""
    return [*directory.glob(f"{part}-[0-9][0-9][0-9][0-9][0-9].bin"), *directory.glob(starts_name(part))]


def tokenizer_digest(vocabulary: Vocabulary) -> str:
    """Names a tokenizer by its content."""
    return hashlib.sha256(vocabulary.proto).hexdigest()


def _crc32(path: Path, size: int) -> int:
    """Of the first `size` bytes; raises ValueError when there are fewer."""
    crc = 0
    with path.open("rb") as file:
        while size:
            chunk = file.read(min(size, _CHUNK_BYTES))
            if not chunk:
                raise ValueError(f"{path.name} is {size} bytes too short")
            crc = zlib.crc32(chunk, crc)
            size -= len(chunk)
    return crc
