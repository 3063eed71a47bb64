"""Write a SentencePiece `tokenizer.model` from a list of pieces, for tokenizers stored in another format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sentencepiece import sentencepiece_model_pb2 as schema

from llgen.errors import LlgenError
from llgen.notices import notice
from llgen.shown import shown
from llgen.whole import replacing

from ..model.sentence_piece import SentencePiece
from ..model.vocabulary import Kind, Piece


@dataclass(frozen=True)
class Conventions:
    """What a tokenizer does besides merging pieces; the defaults are those of llama2.c's encoder."""

    bos: str = "<s>"
    """Text of the control piece that begins a text; the tokenizer may lack it. The same for `eos`."""
    eos: str = "</s>"
    add_dummy_prefix: bool = True
    remove_extra_whitespaces: bool = False


def rebuild(pieces: Sequence[Piece], conventions: Conventions, source: str) -> SentencePiece:
    """Make a vocabulary of pieces from another format; messages name `source`.

    A notice says when bytes have no piece. Raises LlgenError as `SentencePiece.from_proto` does.
    """
    vocabulary = SentencePiece.from_proto(build_proto(pieces, conventions), source)
    missing = vocabulary.byte_ids.count(-1)
    if missing:
        unknown = shown(vocabulary.pieces[vocabulary.unknown_id].text)
        notice(
            f"'{source}' has no piece for {missing} of the 256 bytes: a character that needs one becomes '{unknown}';"
            " SentencePiece itself refuses such a tokenizer.model"
        )
    return vocabulary


def build_proto(pieces: Sequence[Piece], conventions: Conventions | None = None) -> bytes:
    """Serialise a BPE model with identity normalisation; the unknown piece is named <unk>, the padding piece <pad>."""
    conventions = conventions or Conventions()
    model = schema.ModelProto()
    for piece in pieces:
        model.pieces.add(piece=piece.text, score=piece.score, type=int(piece.kind))
    special = {piece.text: index for index, piece in enumerate(pieces) if piece.kind in (Kind.UNKNOWN, Kind.CONTROL)}
    trainer = model.trainer_spec
    trainer.model_type = schema.TrainerSpec.BPE
    trainer.vocab_size = len(pieces)
    trainer.byte_fallback = any(piece.kind is Kind.BYTE for piece in pieces)
    if (conventions.bos, conventions.eos) != (trainer.bos_piece, trainer.eos_piece):  # SentencePiece's defaults
        trainer.bos_piece, trainer.eos_piece = conventions.bos, conventions.eos
    trainer.unk_id = special.get("<unk>", -1)
    trainer.bos_id = special.get(conventions.bos, -1)
    trainer.eos_id = special.get(conventions.eos, -1)
    trainer.pad_id = special.get("<pad>", -1)
    normalizer = model.normalizer_spec
    normalizer.name = "identity"
    normalizer.add_dummy_prefix = conventions.add_dummy_prefix
    normalizer.remove_extra_whitespaces = conventions.remove_extra_whitespaces
    normalizer.escape_whitespaces = True
    return bytes(model.SerializeToString(deterministic=True))


def looks_like_model(head: bytes) -> bool:
    """Whether a file that starts with `head` (4 bytes or more) may be a SentencePiece model.

    Its first field is a piece: tag 0x0A, then a length. The first field of a piece is its text, so bytes 2 and 3 are
    not zero.
    """
    return len(head) >= 4 and head[0] == 0x0A and head[2:4] != b"\0\0"


def write_model(vocabulary: SentencePiece, path: Path) -> None:
    """Write a `tokenizer.model` completely or not at all.

    Raises LlgenError when `path` cannot be written or holds something else than a tokenizer.model.
    """
    with replacing(path) as temporary:
        if path.exists() and not looks_like_model(path.read_bytes()[:4]):
            raise LlgenError(f"'{path}' exists and is no tokenizer.model", "choose another -o")
        temporary.write_bytes(vocabulary.proto)
