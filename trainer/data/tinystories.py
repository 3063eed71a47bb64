"""TinyStories (Eldan and Li, 2023, arXiv:2305.07759): where it is, and whether what came is what was asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from llgen.codegen.errors import LlgenError

from .download import Told, download

BASE = "https://huggingface.co/datasets/roneneldan/TinyStories/resolve/f54c09fd23315a6f9c86f9dc80f725de7d8f9c64/"
"""One revision, so that everybody trains on the same text."""


@dataclass(frozen=True)
class RemoteFile:
    """A file behind BASE."""

    name: str
    bytes: int
    sha256: str


TRAIN = RemoteFile(
    "TinyStoriesV2-GPT4-train.txt",
    2_227_753_162,
    "6418d412de72888f52b5142c761ac21a582f7d1166f0bfbdb5f03ccfdec90443",
)
VALID = RemoteFile(
    "TinyStoriesV2-GPT4-valid.txt",
    22_502_601,
    "6874bae9a4c1a4e7edcf0e53b86c17817e9cf881fc75ff2368da457b80c0585d",
)
FILES = (TRAIN, VALID)
"""In both, a line <|endoftext|> parts two stories."""


def fetch(directory: Path, told: Told = lambda have, whole: None) -> list[Path]:
    """Download the files that `directory` does not hold yet, and return all.

    Raises LlgenError that says what to download by hand when that fails, and when a file that is there already has
    another size.
    """
    directory.mkdir(parents=True, exist_ok=True)
    for file in FILES:
        path = directory / file.name
        if not path.exists():
            _download(file, directory, told)
        elif path.stat().st_size != file.bytes:
            raise LlgenError(
                f"'{path}' has {path.stat().st_size:,} bytes; TinyStories has {file.bytes:,} there",
                "delete it, to have it downloaded; or `llgen data prepare` for a text of your own",
            )
    return [directory / file.name for file in FILES]


def _download(file: RemoteFile, directory: Path, told: Told) -> None:
    try:
        download(BASE + file.name, directory / file.name, told, sha256=file.sha256)
    except LlgenError as error:
        missing = " and ".join(BASE + other.name for other in FILES if not (directory / other.name).exists())
        raise LlgenError(
            error.message,
            f"the same command again, which goes on from there; where no network is, download {missing}"
            f" into '{directory}' before",
        ) from error
