"""A SentencePiece BPE tokenizer as data: its pieces, their scores, and its normalisation of text.

SentencePiece (Kudo and Richardson, 2018, arXiv:1808.06226) is the reference for the ids of a text. This module says
which of its features the generated tokenizer reproduces, and refuses the others by name.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import sentencepiece
from google.protobuf.message import DecodeError
from sentencepiece import sentencepiece_model_pb2 as schema

from llgen.errors import LlgenError
from llgen.lfs import refuse_pointer
from llgen.paths import Pathlike
from llgen.shown import shown

from .vocabulary import Kind, Piece, Vocabulary

SPACE = "▁"
"""U+2581, which stands for a space in SentencePiece."""

_MAX_BYTES = 64 << 20
_LEAVE_OUT = "--no-tokenizer imports the model without it, to take token ids; or retrain it with rule 'identity'"


@dataclass(frozen=True)
class SentencePiece(Vocabulary):
    """The pieces of a tokenizer in the order of their ids, and its normalisation.

    `proto` is the serialised `tokenizer.model`; `processor` runs it.
    Raises LlgenError when the tokenizer is not BPE or uses a feature that the generated C lacks.
    """

    proto: bytes = field(repr=False)
    byte_ids: tuple[int, ...] = field(repr=False)
    """The piece of each of the 256 bytes, or -1. Empty: no byte fallback, unknown text becomes `unknown_id`."""
    add_dummy_prefix: bool
    """Whether a text is encoded as if it began with a space."""
    remove_extra_whitespaces: bool
    """Whether repeated spaces become one, and spaces at both ends are removed."""
    unknown_surface: str
    """The text to which the unknown piece decodes."""

    @classmethod
    def from_file(cls, path: Pathlike) -> SentencePiece:
        """Read a `tokenizer.model`."""
        path = Path(path)
        try:
            size = path.stat().st_size
            proto = path.read_bytes() if size <= _MAX_BYTES else b""
        except OSError as error:
            raise LlgenError(
                f"cannot read the tokenizer '{path}': {error.strerror}", "give the tokenizer.model itself"
            ) from error
        refuse_pointer(proto, path)
        if size > _MAX_BYTES:
            raise LlgenError(f"'{path}' has {size} bytes; a tokenizer.model has at most {_MAX_BYTES}")
        return cls.from_proto(proto, str(path))

    @classmethod
    def from_proto(cls, proto: bytes, source: str = "tokenizer.model") -> SentencePiece:
        """Parse a serialised model; messages name `source`."""
        model = schema.ModelProto()
        try:
            model.ParseFromString(proto)
        except DecodeError as error:
            raise LlgenError(
                f"'{source}' is not a SentencePiece model", "llama2.c's .bin is read by --tokenizer"
            ) from error
        if not model.pieces:
            raise LlgenError(f"'{source}' is not a SentencePiece model: it holds no pieces")
        broken = [index for index, piece in enumerate(model.pieces) if not isinstance(piece.piece, str)]
        if broken:  # protobuf hands out the bytes of what is no text
            raise LlgenError(f"'{source}': piece {broken[0]} is not UTF-8", "copy or download it again")
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
            byte_ids=_byte_ids(pieces),
            add_dummy_prefix=model.normalizer_spec.add_dummy_prefix,
            remove_extra_whitespaces=model.normalizer_spec.remove_extra_whitespaces,
            unknown_surface=model.trainer_spec.unk_surface,
        )
        vocabulary._check(source)
        return vocabulary

    @property
    def identity(self) -> bytes:
        """The serialised `tokenizer.model`."""
        return self.proto

    @property
    def byte_base(self) -> int | None:
        """The id of byte 0, when the other 255 follow it; else None."""
        base = self.byte_ids[0] if self.byte_ids else -1
        return base if base >= 0 and self.byte_ids == tuple(range(base, base + 256)) else None

    @cached_property
    def processor(self) -> sentencepiece.SentencePieceProcessor:
        """SentencePiece with this model: the reference for testing the generated tokenizer."""
        return sentencepiece.SentencePieceProcessor(model_proto=_runnable(self.proto, self.byte_ids))

    def with_pieces(self, more: Sequence[Piece]) -> SentencePiece:
        model = schema.ModelProto.FromString(self.proto)
        for piece in more:
            if piece.kind is Kind.USER_DEFINED:
                piece = user_defined(piece.text)
            model.pieces.add(piece=piece.text, score=piece.score, type=int(piece.kind))
        return SentencePiece.from_proto(bytes(model.SerializeToString(deterministic=True)))

    def _check(self, source: str) -> None:
        for index, piece in enumerate(self.pieces):
            if not math.isfinite(piece.score):
                raise LlgenError(f"'{source}': piece {index} has the score {piece.score}; it must be finite")
        try:
            self.processor  # noqa: B018  # SentencePiece has rules of its own: no piece twice, none empty, ...
        except RuntimeError as error:
            reason = shown(" ".join(str(error).split()))
            raise LlgenError(f"SentencePiece refuses '{source}': {reason}", _LEAVE_OUT) from error

    def encode(self, text: str | bytes) -> list[int]:
        return self._own(self.processor.encode(text))

    def encode_all(self, texts: Sequence[str], threads: int = 1) -> list[list[int]]:
        return [self._own(ids) for ids in self.processor.encode(texts, num_threads=threads)]

    def decode(self, ids: list[int]) -> str:
        return str(self.processor.decode(ids))

    def _own(self, ids: list[int]) -> list[int]:
        """Replace the byte pieces that `_runnable` added by the unknown piece: the tokenizer does not have them."""
        return ids if -1 not in self.byte_ids else [self.unknown_id if i >= len(self.pieces) else i for i in ids]


def is_byte_name(text: str) -> bool:
    """Whether a piece has the name of a byte piece, such as <0x0A>; SentencePiece writes upper case only."""
    return re.fullmatch(r"<0x[0-9A-F]{2}>", text) is not None


def user_defined(name: str) -> Piece:
    """A user-defined piece for the text `name`, in which another tokenizer writes plain spaces."""
    return Piece(name.replace(" ", SPACE), 0.0, Kind.USER_DEFINED)


def _runnable(proto: bytes, byte_ids: tuple[int, ...]) -> bytes:
    """A model that SentencePiece runs: with pieces for all 256 bytes, and with unused pieces in place of user-defined
    ones that hold an unescaped space: no text is encoded as these, but they would change the normalisation."""
    model = schema.ModelProto.FromString(proto)
    spaced = [piece for piece in model.pieces if piece.type == Kind.USER_DEFINED and " " in piece.piece]
    missing = [byte for byte, index in enumerate(byte_ids) if index < 0]
    if not spaced and not missing:
        return proto
    for piece in spaced:
        piece.type = int(Kind.UNUSED)
    for byte in missing:
        model.pieces.add(piece=f"<0x{byte:02X}>", score=0.0, type=int(Kind.BYTE))
    return bytes(model.SerializeToString())


def _refuse_unsupported(model: schema.ModelProto, source: str) -> None:
    trainer, normalizer = model.trainer_spec, model.normalizer_spec
    kinds = {1: "Unigram", 3: "word", 4: "character"}
    if trainer.model_type != 2:
        kind = kinds.get(trainer.model_type, "unknown")
        raise LlgenError(
            f"'{source}' is a {kind} tokenizer; llgen supports BPE",
            "--no-tokenizer imports the model without it, to take token ids; or retrain it with --model_type=bpe",
        )
    refused = {
        f"the normalisation rule '{shown(str(normalizer.name))}'": bool(normalizer.precompiled_charsmap),
        "a denormalisation rule": bool(model.denormalizer_spec.precompiled_charsmap),
        "spaces kept unescaped": not normalizer.escape_whitespaces,
        "spaces as suffixes": trainer.treat_whitespace_as_suffix,
    }
    for feature, present in refused.items():
        if present:
            raise LlgenError(f"'{source}' uses {feature}, which the generated tokenizer lacks", _LEAVE_OUT)


def _control_id(pieces: tuple[Piece, ...], text: str) -> int:
    for index, piece in enumerate(pieces):
        if piece.kind is Kind.CONTROL and piece.text == text:
            return index
    return -1


def _byte_ids(pieces: tuple[Piece, ...]) -> tuple[int, ...]:
    ids = {piece.text: index for index, piece in enumerate(pieces) if piece.kind is Kind.BYTE}
    return tuple(ids.get(f"<0x{byte:02X}>", -1) for byte in range(256)) if ids else ()
