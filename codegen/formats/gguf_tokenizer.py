"""A SentencePiece vocabulary in GGUF's metadata: tokens with their U+2581, scores, kinds; llama.cpp's model "llama".

The pieces and their numbers go through as they are: GGUF's token types are SentencePiece's. The tokenizer.model that is
rebuilt encodes every text as the original does, but is not the same file.
"""

from __future__ import annotations

from gguf import GGUFWriter

from ..errors import LlgenError
from ..vocabulary import Kind, Piece, Vocabulary
from .gguf_container import GgufFile, Value
from .gguf_metadata import Metadata
from .sentencepiece_model import Conventions, build_proto

MODEL = "llama"
_NO_MODEL = ("none", "no_vocab")
_PREFIX = "tokenizer.ggml"


def write_vocabulary(writer: GGUFWriter, vocabulary: Vocabulary | None, bos_id: int, eos_id: int) -> None:
    """Add a vocabulary, or that there is none."""
    if vocabulary is None:
        writer.add_tokenizer_model(_NO_MODEL[0])
    else:
        writer.add_tokenizer_model(MODEL)
        writer.add_tokenizer_pre("default")
        writer.add_token_list([piece.text for piece in vocabulary.pieces])
        writer.add_token_scores([piece.score for piece in vocabulary.pieces])
        writer.add_token_types([int(piece.kind) for piece in vocabulary.pieces])
        writer.add_unk_token_id(vocabulary.unknown_id)
        writer.add_add_space_prefix(vocabulary.add_dummy_prefix)
        writer.add_remove_extra_whitespaces(vocabulary.remove_extra_whitespaces)
        writer.add_add_bos_token(True)
        writer.add_add_eos_token(False)
    writer.add_bos_token_id(bos_id)
    writer.add_eos_token_id(eos_id)


def read_vocabulary(file: GgufFile) -> Vocabulary | None:
    """The vocabulary of a file; None when it says that it has none.

    Raises LlgenError for a tokenizer that is no SentencePiece BPE, and for lists that are missing or do not fit.
    """
    meta = Metadata(file.path, file.metadata)
    model = meta.text(f"{_PREFIX}.model")
    if model in _NO_MODEL:
        return None
    if model != MODEL:
        raise LlgenError(
            f"'{file.path}' has the tokenizer '{model}'; llgen supports '{MODEL}', which is SentencePiece BPE",
            "if the model came with a tokenizer.model, give it as --tokenizer",
        )
    texts, scores, kinds = (_list(meta, f"{_PREFIX}.{key}") for key in ("tokens", "scores", "token_type"))
    if not len(texts) == len(scores) == len(kinds):
        raise LlgenError(
            f"'{file.path}' has {len(texts)} tokens, {len(scores)} scores and {len(kinds)} token types",
            "convert it again",
        )
    pieces = [_piece(file, index, *fields) for index, fields in enumerate(zip(texts, scores, kinds, strict=True))]
    defaults = Conventions()
    conventions = Conventions(
        bos=_control(pieces, meta.whole(f"{_PREFIX}.bos_token_id", 1), defaults.bos),
        eos=_control(pieces, meta.whole(f"{_PREFIX}.eos_token_id", 2), defaults.eos),
        add_dummy_prefix=meta.flag(f"{_PREFIX}.add_space_prefix", True),
        remove_extra_whitespaces=meta.flag(f"{_PREFIX}.remove_extra_whitespaces", False),
    )
    return Vocabulary.from_proto(build_proto(pieces, conventions), str(file.path))


def _list(meta: Metadata, key: str) -> list[Value]:
    value = meta.pairs.get(key)
    if value is None:
        raise meta.missing(key)
    if not isinstance(value, list):
        raise LlgenError(f"'{meta.path}' has {key} = {value!r}; it must be a list")
    return list(value)


def _piece(file: GgufFile, index: int, text: Value, score: Value, kind: Value) -> Piece:
    try:
        known = Kind(kind)  # type: ignore[arg-type]  # anything may stand in the file
    except ValueError as error:
        raise LlgenError(f"'{file.path}': token {index} has the type {kind!r}; it must be 1 to 6") from error
    if not isinstance(text, str) or not isinstance(score, float):
        raise LlgenError(f"'{file.path}': token {index} is {text!r} with the score {score!r}, not a text and a number")
    return Piece(text, score, known)


def _control(pieces: list[Piece], index: int, default: str) -> str:
    """The text by which SentencePiece knows the control piece `index`."""
    if 0 <= index < len(pieces) and pieces[index].kind is Kind.CONTROL:
        return pieces[index].text
    return default
