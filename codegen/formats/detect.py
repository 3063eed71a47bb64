"""Recognise a model or tokenizer by its content, never by its name, and read it."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from llgen.errors import LlgenError, UsageError
from llgen.lfs import refuse_pointer
from llgen.paths import Pathlike

from ..model.checkpoint import Checkpoint
from ..model.sentence_piece import SentencePiece
from ..model.text_tokens import Claim
from ..model.vocabulary import Vocabulary
from .hf.added_tokens import MOST_ROWS, listed_tokens, with_added
from .hf.directory import load_checkpoint
from .hf.tokenizer_json_read import claim_of_json, is_tokenizer_json, read_tokenizer_json
from .hf.weights import read_json
from .llama2c.read import read_header, read_llama2c
from .llama2c.tokenizer import looks_like_tokenizer_bin, read_tokenizer_bin
from .sentencepiece_model import looks_like_model

_HEAD_BYTES = 64


class Form(Enum):
    """The form of a file or directory; messages print the values."""

    HUGGING_FACE = "a Hugging Face directory"
    LLAMA2C = "a llama2.c checkpoint"
    LLAMA2C_TOKENIZER = "a llama2.c tokenizer"
    SENTENCEPIECE = "a SentencePiece model"
    GGUF = "a GGUF file"
    TORCH = "a PyTorch file"
    SAFETENSORS = "a safetensors file"
    ARCHIVE = "a zip archive"
    JSON = "a JSON file"


@dataclass(frozen=True)
class Description:
    """How a summary describes a source."""

    text: str
    quantised: bool
    """Whether the source stores rounded weights, so that quantising rounds them a second time."""


_REFUSED = {
    Form.SENTENCEPIECE: ("a tokenizer without a model", "give the checkpoint as SOURCE and this as --tokenizer"),
    Form.LLAMA2C_TOKENIZER: ("a tokenizer without a model", "give the checkpoint as SOURCE and this as --tokenizer"),
    Form.SAFETENSORS: ("weights without a config.json", "give the directory that holds both"),
    Form.ARCHIVE: ("a zip archive, but no PyTorch checkpoint", "unpack it, or copy it again if it should be one"),
    Form.JSON: ("JSON, not weights", "give the directory that holds config.json and model.safetensors"),
}


def detect(path: Path) -> Form:
    """Recognise a directory or file by its first bytes. What matches no other form may be a llama2.c checkpoint.

    Raises LlgenError when it cannot be read, or is a Git LFS pointer.
    """
    if path.is_dir():
        return Form.HUGGING_FACE
    head = _head(path)
    if head.startswith(b"GGUF"):
        return Form.GGUF
    if head.startswith(b"PK\x03\x04"):
        return Form.TORCH if _holds_pickle(path) else Form.ARCHIVE
    # A bare pickle, as torch wrote it before 1.6; zeros after its version would be a llama2.c checkpoint of dim 640.
    if head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05") and head[2:4] != b"\0\0":
        return Form.TORCH
    if head[8:9] == b"{" and head[6:8] == b"\0\0":  # the length of a header of JSON, then that
        return Form.SAFETENSORS
    if head.lstrip()[:1] == b"{":
        return Form.JSON
    if looks_like_model(head):
        return Form.SENTENCEPIECE
    return Form.LLAMA2C_TOKENIZER if looks_like_tokenizer_bin(head) else Form.LLAMA2C


def describe(path: Path) -> Description:
    """Describe what `path` holds, for a summary."""
    kind = detect(path)
    if kind is Form.LLAMA2C:
        header = read_header(path)
        return Description(header.description, header.group_size is not None)
    if kind is Form.GGUF:
        from .gguf.read import is_quantised, weight_types

        types = weight_types(path)
        return Description(f"GGUF, {', '.join(type.name for type in types)}", any(map(is_quantised, types)))
    if kind is Form.TORCH:
        return Description("a llama2.c training checkpoint", quantised=False)
    return Description(kind.value, quantised=False)


def read_any(
    path: Pathlike,
    tokenizer: Pathlike | None,
    *,
    without_tokenizer: bool = False,
    space_prefix: bool | None = None,
) -> Checkpoint:
    """Read a model of any supported format. `tokenizer`, or no tokenizer at all, replaces the model's own.

    `space_prefix` is as for `read_vocabulary`.
    Raises LlgenError for a format that is not supported, and for what the reader of the format refuses.
    """
    path = Path(path)
    tokenizer = None if tokenizer is None else Path(tokenizer)
    kind = detect(path)
    if kind in _REFUSED:
        what, hint = _REFUSED[kind]
        raise LlgenError(f"'{path}' is {what}", hint)
    vocabulary = None if tokenizer is None else read_vocabulary(tokenizer, space_prefix)
    said = () if tokenizer is None or detect(tokenizer) is not Form.JSON else (claim_of_json(tokenizer),)
    if kind is Form.LLAMA2C:
        return read_llama2c(path, vocabulary, said)
    if kind is Form.GGUF:
        from .gguf.read import read_gguf

        return read_gguf(path, vocabulary, said, without_tokenizer=without_tokenizer)
    if kind is Form.TORCH:
        return _read_torch(path, vocabulary, said)
    return load_checkpoint(path, vocabulary, said, without_tokenizer=without_tokenizer)


def read_vocabulary(path: Pathlike, space_prefix: bool | None = None) -> Vocabulary:
    """Read a tokenizer: SentencePiece's `.model`, llama2.c's `.bin`, or a `tokenizer.json` that holds such a tokenizer.

    `space_prefix` says whether a text is encoded as if it began with a space, which a `.bin` does not store.
    Raises LlgenError for anything else, UsageError for a `space_prefix` when the file stores it.
    """
    path = Path(path)
    kind = detect(path)
    if kind not in (Form.SENTENCEPIECE, Form.JSON) and _head(path)[2:4] == b"\0\0":
        return read_tokenizer_bin(path, space_prefix)  # by its first integer; the reader tells what is damaged
    if space_prefix is not None:
        raise UsageError(f"'{path}' stores whether a space is put in front of a text", "leave the option out")
    if kind is Form.SENTENCEPIECE:
        return SentencePiece.from_file(path)
    if kind is Form.JSON and is_tokenizer_json(path):
        return with_added(read_tokenizer_json(path), listed_tokens(read_json(path), path), MOST_ROWS)
    hint = "give a tokenizer.model or tokenizer.json (SentencePiece), or llama2.c's tokenizer.bin"
    if kind is Form.LLAMA2C:  # the form of files that nothing else recognises
        raise LlgenError(f"'{path}' is no tokenizer", hint)
    raise LlgenError(f"'{path}' is {kind.value}, no tokenizer", hint)


def _read_torch(path: Path, vocabulary: Vocabulary | None, said: Sequence[Claim]) -> Checkpoint:
    try:
        from llgen.trainer.llama2c_checkpoint import read_llama2c_checkpoint
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise needs_torch(f"'{path}' is {Form.TORCH.value}; reading it") from error
    return read_llama2c_checkpoint(path, vocabulary, said)


def needs_torch(what: str) -> LlgenError:
    """The error when PyTorch is not installed; `what`, the start of the message, names what needs it."""
    return LlgenError(f"{what} needs PyTorch, which is not installed", "pip install 'llgen[train]'")


def _holds_pickle(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/data.pkl") for name in archive.namelist())
    except (zipfile.BadZipFile, NotImplementedError):
        return False


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError as error:
        raise LlgenError(f"cannot read '{path}': {error.strerror}") from error
    refuse_pointer(head, path)
    return head
