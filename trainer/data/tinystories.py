"""The data set TinyStories (Eldan and Li, 2023, arXiv:2305.07759): its address, sizes and digests; downloading it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from llgen.errors import LlgenError

from .download import Told, download

BASE = "https://huggingface.co/datasets/roneneldan/TinyStories/resolve/f54c09fd23315a6f9c86f9dc80f725de7d8f9c64/"
"""The address of one revision, so that everybody trains on the same text."""


@dataclass(frozen=True)
class RemoteFile:
    """A file below BASE."""

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
"""In both files, a line <|endoftext|> separates two stories."""


def fetch(directory: Path, told: Told = lambda have, whole: None) -> list[Path]:
    """Download the files that `directory` does not have yet; returns the paths of all files.

    Raises LlgenError when a download fails, with the addresses for a download by hand; and when an existing file has
    another size.
    """
    directory.mkdir(parents=True, exist_ok=True)
    for file in FILES:
        path = directory / file.name
        if not path.exists():
            _download(file, directory, told)
        elif path.stat().st_size != file.bytes:
            raise LlgenError(
                f"'{path}' has {path.stat().st_size:,} bytes; the file of TinyStories has {file.bytes:,}",
                "delete it, so that it is downloaded again; or use `llgen data prepare` for your own text",
            )
    return [directory / file.name for file in FILES]


def _download(file: RemoteFile, directory: Path, told: Told) -> None:
    try:
        download(BASE + file.name, directory / file.name, told, sha256=file.sha256)
    except LlgenError as error:
        missing = " and ".join(BASE + other.name for other in FILES if not (directory / other.name).exists())
        raise LlgenError(
            error.message,
            f"repeat the command, which continues the download; without a network, download {missing} elsewhere,"
            f" into '{directory}'",
        ) from error
