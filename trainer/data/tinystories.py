"""TinyStories (Eldan and Li, 2023, arXiv:2305.07759): where it is, and how it becomes one source."""

from __future__ import annotations

from pathlib import Path

from llgen.codegen.errors import LlgenError

from .download import Told, download

_BASE = "https://huggingface.co/datasets/roneneldan/TinyStories/resolve/main/"
FILES = ("TinyStoriesV2-GPT4-train.txt", "TinyStoriesV2-GPT4-valid.txt")
"""2.2 GB and 22 MB; a line <|endoftext|> parts two stories."""


def fetch(directory: Path, told: Told = lambda have, whole: None, base: str = _BASE) -> list[Path]:
    """Download the files that `directory` does not hold yet, and return all.

    Raises LlgenError that says what to download by hand when that fails.
    """
    directory.mkdir(parents=True, exist_ok=True)
    paths = [directory / name for name in FILES]
    for path in paths:
        if path.exists():
            continue
        try:
            download(base + path.name, path, told)
        except LlgenError as error:
            missing = " and ".join(base + other.name for other in paths if not other.exists())
            raise LlgenError(
                error.message, f"download {missing} into '{directory}', and give the same command again"
            ) from error
    return paths
