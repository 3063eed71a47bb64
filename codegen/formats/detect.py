"""Recognise a model or tokenizer by its content, never by its name, and read it."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

from ..checkpoint import Checkpoint, load_checkpoint
from ..errors import LlgenError
from ..vocabulary import Vocabulary
from .adopt import adopt_tokens
from .llama2c import read_header, read_llama2c
from .llama2c_tokenizer import looks_like_tokenizer_bin, read_tokenizer_bin
from .sentencepiece_model import looks_like_model

_HEAD_BYTES = 64


class Form(Enum):
    """What a path holds; the values are for messages."""

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
    """What a summary says of a source."""

    text: str
    quantised: bool
    """The source stores rounded weights: quantising what was read of it rounds for a second time."""


_REFUSED = {
    Form.SENTENCEPIECE: ("a tokenizer without a model", "give the checkpoint as SOURCE and this as --tokenizer"),
    Form.LLAMA2C_TOKENIZER: ("a tokenizer without a model", "give the checkpoint as SOURCE and this as --tokenizer"),
    Form.SAFETENSORS: ("weights without a config.json", "give the directory that holds both"),
    Form.ARCHIVE: ("a zip archive, but no PyTorch checkpoint", "unpack it, or copy it again if it should be one"),
    Form.JSON: ("JSON, not weights", "give the directory that holds config.json and model.safetensors"),
}


def detect(path: Path) -> Form:
    """Tell what a directory or file holds, from its first bytes; what is nothing else may be a llama2.c checkpoint.

    Raises LlgenError when it cannot be read.
    """
    if path.is_dir():
        return Form.HUGGING_FACE
    head = _head(path)
    if head.startswith(b"GGUF"):
        return Form.GGUF
    if head.startswith(b"PK\x03\x04"):
        return Form.TORCH if _holds_pickle(path) else Form.ARCHIVE
    # A bare pickle, as torch wrote it before 1.6; zeros behind its version would be a llama2.c checkpoint of dim 640.
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
    """What `path` holds, in the words of a summary."""
    kind = detect(path)
    if kind is Form.LLAMA2C:
        header = read_header(path)
        return Description(header.description, header.group_size is not None)
    if kind is Form.GGUF:
        from .gguf_read import is_quantised, weight_types

        types = weight_types(path)
        return Description(f"GGUF, {', '.join(type.name for type in types)}", any(map(is_quantised, types)))
    if kind is Form.TORCH:
        return Description("a llama2.c training checkpoint", quantised=False)
    return Description(kind.value, quantised=False)


def read_any(path: Path, tokenizer: Path | None) -> Checkpoint:
    """Read a model of any supported form; `tokenizer`, when given, takes the place of the model's own.

    Raises LlgenError for a form that is not supported, and whatever the reader of the form refuses.
    """
    kind = detect(path)
    if kind in _REFUSED:
        what, hint = _REFUSED[kind]
        raise LlgenError(f"'{path}' is {what}", hint)
    vocabulary = None if tokenizer is None else read_vocabulary(tokenizer)
    if kind is Form.LLAMA2C:
        return read_llama2c(path, vocabulary)
    if kind is Form.GGUF:
        from .gguf_read import read_gguf  # here, for the gguf package is slow to import

        return read_gguf(path, vocabulary)
    if kind is Form.TORCH:
        return _read_torch(path, vocabulary)
    checkpoint = load_checkpoint(path)
    if vocabulary is None:
        return checkpoint
    return replace(checkpoint, config=adopt_tokens(checkpoint.config, vocabulary), vocabulary=vocabulary)


def read_vocabulary(path: Path) -> Vocabulary:
    """Read a tokenizer, SentencePiece's `.model` or llama2.c's `.bin`.

    Raises LlgenError for anything else.
    """
    kind = detect(path)
    if kind is Form.SENTENCEPIECE:
        return Vocabulary.from_file(path)
    if _head(path)[2:4] == b"\0\0":  # of the small number in front; a damaged .bin is to be told what is damaged
        return read_tokenizer_bin(path)
    hint = "give SentencePiece's tokenizer.model or llama2.c's tokenizer.bin"
    if kind is Form.LLAMA2C:  # which is to say: nothing that is recognised
        raise LlgenError(f"'{path}' is no tokenizer", hint)
    raise LlgenError(f"'{path}' is {kind.value}, no tokenizer", hint)


def _read_torch(path: Path, vocabulary: Vocabulary | None) -> Checkpoint:
    try:
        from llgen.trainer.llama2c_checkpoint import read_llama2c_checkpoint
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise needs_torch(f"'{path}' is {Form.TORCH.value}; reading it") from error
    return read_llama2c_checkpoint(path, vocabulary)


def needs_torch(what: str) -> LlgenError:
    """The error for what cannot be done without PyTorch; `what` is the start of a sentence."""
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
            return file.read(_HEAD_BYTES)
    except OSError as error:
        raise LlgenError(f"cannot read '{path}': {error.strerror}") from error
