"""Recognise a model or tokenizer by its content, never by its name, and read it."""

from __future__ import annotations

from dataclasses import replace
from enum import Enum
from pathlib import Path

from ..checkpoint import Checkpoint, load_checkpoint
from ..errors import LlgenError
from ..vocabulary import Vocabulary
from .llama2c import adopt_tokens, read_header, read_llama2c
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
    JSON = "a JSON file"


_REFUSED = {
    Form.SENTENCEPIECE: ("a tokenizer without a model", "give the checkpoint as SOURCE and this as --tokenizer"),
    Form.LLAMA2C_TOKENIZER: ("a tokenizer without a model", "give the checkpoint as SOURCE and this as --tokenizer"),
    Form.GGUF: ("GGUF, which is not supported yet", "import the Hugging Face directory or the llama2.c .bin"),
    Form.TORCH: (
        "a PyTorch file, which is not supported yet",
        "convert it with llama2.c's export.py --version 1, or save a Hugging Face directory",
    ),
    Form.SAFETENSORS: ("weights without a config.json", "give the directory that holds both"),
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
    if head.startswith((b"PK\x03\x04", b"\x80\x02")):  # a zip archive, or a bare pickle before torch 1.6
        return Form.TORCH
    if head[8:9] == b"{" and head[6:8] == b"\0\0":  # the length of a header of JSON, then that
        return Form.SAFETENSORS
    if head.lstrip()[:1] == b"{":
        return Form.JSON
    if looks_like_model(head):
        return Form.SENTENCEPIECE
    return Form.LLAMA2C_TOKENIZER if looks_like_tokenizer_bin(head) else Form.LLAMA2C


def describe(path: Path) -> str:
    """What `path` holds, in the words of a summary."""
    kind = detect(path)
    return read_header(path).description if kind is Form.LLAMA2C else kind.value


def read_any(path: Path, tokenizer: Path | None) -> Checkpoint:
    """Read a model of any supported form; `tokenizer`, when given, takes the place of the directory's own.

    Raises LlgenError for a form that is not supported, and whatever the reader of the form refuses.
    """
    kind = detect(path)
    if kind in _REFUSED:
        what, hint = _REFUSED[kind]
        raise LlgenError(f"'{path}' is {what}", hint)
    vocabulary = None if tokenizer is None else read_vocabulary(tokenizer)
    if kind is Form.LLAMA2C:
        return read_llama2c(path, vocabulary)
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


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_HEAD_BYTES)
    except OSError as error:
        raise LlgenError(f"cannot read '{path}': {error.strerror}") from error
