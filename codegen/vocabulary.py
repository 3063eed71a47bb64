"""A SentencePiece BPE tokenizer as data: its pieces, their ranks, and how it normalises text.

SentencePiece itself (Kudo and Richardson, 2018, arXiv:1808.06226) is the reference for what the ids of a text are;
this module only says which of its features the generated tokenizer reproduces, and refuses the others by name.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from pathlib import Path

import sentencepiece
from google.protobuf.message import DecodeError
from sentencepiece import sentencepiece_model_pb2 as schema

from .errors import LlgenError

SPACE = "▁"
"""U+2581, which SentencePiece writes for a space."""

_MAX_BYTES = 64 << 20


class Kind(IntEnum):
    """What a piece is; the values are those of SentencePiece's protocol buffer."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


@dataclass(frozen=True)
class Piece:
    text: str
    score: float
    kind: Kind


@dataclass(frozen=True)
class Vocabulary:
    """The pieces of a tokenizer in the order of their ids, and its normalisation.

    `proto` is the serialised `tokenizer.model`; `processor` runs it.
    Raises LlgenError when the tokenizer is not BPE or uses a feature that the generated C lacks.
    """

    proto: bytes
    pieces: tuple[Piece, ...]
    unknown_id: int
    bos_id: int
    """-1 when the tokenizer has none; so for eos_id."""
    eos_id: int
    byte_base: int | None
    """The id of byte 0; the other 255 follow it. None: no byte fallback, unknown text becomes `unknown_id`."""
    add_dummy_prefix: bool
    """A text is encoded as if a space stood before it."""
    remove_extra_whitespaces: bool
    """Runs of spaces become one; spaces at either end are dropped."""
    unknown_surface: str
    """What the unknown piece decodes to."""

    @classmethod
    def from_file(cls, path: Path) -> Vocabulary:
        """Read a `tokenizer.model`."""
        try:
            size = path.stat().st_size
            proto = path.read_bytes() if size <= _MAX_BYTES else b""
        except OSError as error:
            raise LlgenError(f"cannot read the tokenizer '{path}': {error.strerror}") from error
        if size > _MAX_BYTES:
            raise LlgenError(f"'{path}' has {size} bytes; a tokenizer.model has at most {_MAX_BYTES}")
        return cls.from_proto(proto, str(path))

    @classmethod
    def from_proto(cls, proto: bytes, source: str = "tokenizer.model") -> Vocabulary:
        """Parse a serialised model; `source` is for messages."""
        model = schema.ModelProto()
        try:
            model.ParseFromString(proto)
        except DecodeError as error:
            raise LlgenError(
                f"'{source}' is not a SentencePiece model", "llama2.c's .bin is read by --tokenizer"
            ) from error
        if not model.pieces:
            raise LlgenError(f"'{source}' is not a SentencePiece model: it holds no pieces")
        _refuse_unsupported(model, source)
        pieces = tuple(Piece(piece.piece, piece.score, Kind(piece.type)) for piece in model.pieces)
        unknown = [index for index, piece in enumerate(pieces) if piece.kind is Kind.UNKNOWN]
        if len(unknown) != 1:
            raise LlgenError(f"'{source}' holds {len(unknown)} unknown pieces; SentencePiece asks for one")
        vocabulary = cls(
            proto=proto,
            pieces=pieces,
            unknown_id=unknown[0],
            bos_id=_control_id(pieces, model.trainer_spec.bos_piece),
            eos_id=_control_id(pieces, model.trainer_spec.eos_piece),
            byte_base=_byte_base(pieces, source),
            add_dummy_prefix=model.normalizer_spec.add_dummy_prefix,
            remove_extra_whitespaces=model.normalizer_spec.remove_extra_whitespaces,
            unknown_surface=model.trainer_spec.unk_surface,
        )
        vocabulary._check(source)
        return vocabulary

    def __len__(self) -> int:
        return len(self.pieces)

    @cached_property
    def processor(self) -> sentencepiece.SentencePieceProcessor:
        """SentencePiece running this very model: the reference that the generated tokenizer is tested against."""
        return sentencepiece.SentencePieceProcessor(model_proto=self.proto)

    def _check(self, source: str) -> None:
        for index, piece in enumerate(self.pieces):
            if not math.isfinite(piece.score):
                raise LlgenError(f"'{source}': piece {index} has the score {piece.score}; it must be finite")
        try:
            self.processor  # noqa: B018  # SentencePiece has rules of its own: no piece twice, none empty, ...
        except RuntimeError as error:
            raise LlgenError(f"SentencePiece refuses '{source}': {' '.join(str(error).split())}") from error

    def encode(self, text: str | bytes) -> list[int]:
        """The ids of a text, without BOS."""
        return list(self.processor.encode(text))

    def decode(self, ids: list[int]) -> str:
        """The text of ids."""
        return str(self.processor.decode(ids))


def _refuse_unsupported(model: schema.ModelProto, source: str) -> None:
    trainer, normalizer = model.trainer_spec, model.normalizer_spec
    kinds = {1: "Unigram", 3: "word", 4: "character"}
    if trainer.model_type != 2:
        kind = kinds.get(trainer.model_type, "unknown")
        raise LlgenError(f"'{source}' is a {kind} tokenizer; llgen supports BPE", "retrain it with --model_type=bpe")
    refused = {
        f"the normalisation rule '{normalizer.name}'": bool(normalizer.precompiled_charsmap),
        "a denormalisation rule": bool(model.denormalizer_spec.precompiled_charsmap),
        "spaces kept unescaped": not normalizer.escape_whitespaces,
        "spaces as suffixes": trainer.treat_whitespace_as_suffix,
        "user-defined symbols": any(piece.type == Kind.USER_DEFINED for piece in model.pieces),
        "unused pieces": any(piece.type == Kind.UNUSED for piece in model.pieces),
    }
    for feature, present in refused.items():
        if present:
            raise LlgenError(
                f"'{source}' uses {feature}, which the generated tokenizer lacks",
                "leave the tokenizer out to build a model that takes token ids, or retrain it with rule 'identity'",
            )


def _control_id(pieces: tuple[Piece, ...], text: str) -> int:
    for index, piece in enumerate(pieces):
        if piece.kind is Kind.CONTROL and piece.text == text:
            return index
    return -1


def _byte_base(pieces: tuple[Piece, ...], source: str) -> int | None:
    ids = [index for index, piece in enumerate(pieces) if piece.kind is Kind.BYTE]
    if not ids:
        return None
    base = ids[0]
    if [piece.text for piece in pieces[base : base + 256]] != [f"<0x{byte:02X}>" for byte in range(256)]:
        raise LlgenError(f"'{source}' does not list its 256 byte pieces in order", "retrain it with byte_fallback")
    return base
