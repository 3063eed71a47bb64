"""Text to tokens to batches: documents are read or made up, tokenised, packed into one array, and drawn from at random.

In a user's file, a line `<|endoftext|>` stands between two documents where it occurs at all; otherwise blank lines do.
A folder is all its `.txt` files, in the order of their names.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from llgen.codegen.errors import LlgenError
from llgen.codegen.vocabulary import Vocabulary

from .corpus import stories

SEPARATOR = "<|endoftext|>"
_HELD_OUT_EVERY = 20
"""One document of so many is held out for evaluation."""

Tokens = npt.NDArray[np.uint16] | npt.NDArray[np.uint32]


# ------------------------------------------------------------------------------------------------------- documents


def made_up_documents(seed: int, count: int) -> list[str]:
    """The first stories of the built-in corpus."""
    return list(islice(stories(seed), count))


def read_documents(path: Path) -> list[str]:
    """The documents of a text file, or of every `.txt` file under a folder.

    Raises LlgenError when there is no text, or when it is not UTF-8.
    """
    if path.is_dir():
        files = sorted(file for file in path.rglob("*.txt") if file.is_file())
        if not files:
            raise LlgenError(f"'{path}' holds no .txt file", "give --data a text file, or a folder of .txt files")
    else:
        files = [path]
    documents = [document for file in files for document in split_documents(_read_text(file))]
    if not documents:
        raise LlgenError(f"'{path}' holds no text", "give --data some text to learn from, or leave it out")
    return documents


def split_documents(text: str) -> list[str]:
    """Cut a file's text at its separators; documents of nothing but blanks are dropped."""
    separator = rf"^{re.escape(SEPARATOR)}[ \t]*$" if SEPARATOR in text else r"\n[ \t]*\n"
    parts = (part.strip() for part in re.split(separator, text, flags=re.MULTILINE))
    return [part for part in parts if part]


def _read_text(path: Path) -> str:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise LlgenError(f"cannot read '{path}': {error.strerror}", "give --data a readable text file") from error
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise LlgenError(
            f"'{path}' is not UTF-8: byte 0x{raw[error.start]:02X} at offset {error.start}",
            "save it as UTF-8, e.g. `iconv -f LATIN1 -t UTF-8`",
        ) from error
    return text.replace("\r\n", "\n")


# ---------------------------------------------------------------------------------------------------------- tokens


@dataclass(frozen=True)
class Dataset:
    """Tokens to learn from and tokens held out; in both, BOS stands in front of every document."""

    train: Tokens
    held_out: Tokens


def write_dataset(dataset: Dataset, path: Path) -> None:
    """Keep the tokens of a run, so that it can be resumed without its text."""
    np.savez(path, train=dataset.train, held_out=dataset.held_out)


def read_dataset(path: Path) -> Dataset:
    """Read what `write_dataset` wrote; raises LlgenError when it is gone or damaged."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return Dataset(arrays["train"], arrays["held_out"])
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise LlgenError(f"'{path}' does not hold a run's tokens: {error}", "start a new run") from error


def build_dataset(documents: Sequence[str], vocabulary: Vocabulary, sequence_length: int) -> Dataset:
    """Tokenise documents, and hold out every twentieth (or, of fewer than twenty, the end of the last).

    Raises LlgenError when either part is shorter than one sequence.
    """
    if len(documents) < _HELD_OUT_EVERY:
        *whole, last = documents
        cut = len(last) - sum(map(len, documents)) // 10
        cut = max(cut, len(last) // 2)
        train, held_out = [*whole, last[:cut]], [last[cut:]]
    else:
        train = [text for index, text in enumerate(documents) if (index + 1) % _HELD_OUT_EVERY]
        held_out = list(documents[_HELD_OUT_EVERY - 1 :: _HELD_OUT_EVERY])
    dataset = Dataset(pack(train, vocabulary), pack(held_out, vocabulary))
    for part, tokens in (("to train on", dataset.train), ("held out for evaluation", dataset.held_out)):
        if len(tokens) <= sequence_length:
            raise LlgenError(
                f"the text has {len(tokens)} tokens {part}; one sequence takes {sequence_length + 1}",
                f"give more text, or a --context below {max(len(tokens), 2)}",
            )
    return dataset


def pack(documents: Sequence[str], vocabulary: Vocabulary) -> Tokens:
    """All documents' tokens in one array, BOS before each."""
    encoded = vocabulary.processor.encode(list(documents), num_threads=2)
    ids = [token for document in encoded for token in (vocabulary.bos_id, *document)]
    return np.array(ids, dtype=np.uint16) if len(vocabulary) <= 1 << 16 else np.array(ids, dtype=np.uint32)


# --------------------------------------------------------------------------------------------------------- batches


class Batches:
    """An endless sequence of random windows, whose `state` continues it exactly."""

    def __init__(self, tokens: Tokens, seed: int) -> None:
        self._tokens = torch.from_numpy(tokens.astype(np.int64))
        self._generator = torch.Generator().manual_seed(seed)

    @property
    def state(self) -> Tensor:
        """What the sequence goes on from, as bytes."""
        return self._generator.get_state()

    @state.setter
    def state(self, state: Tensor) -> None:
        self._generator.set_state(state)

    def draw(self, batch_size: int, sequence_length: int) -> tuple[Tensor, Tensor]:
        """Inputs and targets, both [batch, time]; a target is the token that follows its input."""
        last = len(self._tokens) - 1 - sequence_length
        starts = torch.randint(last + 1, (batch_size, 1), generator=self._generator)
        windows = self._tokens[starts + torch.arange(sequence_length + 1)]  # [batch, time + 1]
        return windows[:, :-1], windows[:, 1:]
