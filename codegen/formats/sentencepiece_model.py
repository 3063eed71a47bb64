"""Write a SentencePiece `tokenizer.model` from a list of pieces, for tokenizers that arrive in another form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sentencepiece import sentencepiece_model_pb2 as schema

from ..errors import LlgenError
from ..vocabulary import Kind, Piece, Vocabulary
from .output import replacing


@dataclass(frozen=True)
class Conventions:
    """What a tokenizer does besides merging pieces; the defaults are llama2.c's encoder."""

    bos: str = "<s>"
    """The control piece that begins a text; that there is none is no error. So for `eos`."""
    eos: str = "</s>"
    add_dummy_prefix: bool = True
    remove_extra_whitespaces: bool = False


def build_proto(pieces: Sequence[Piece], conventions: Conventions | None = None) -> bytes:
    """Serialise a BPE model with identity normalisation; unknown and padding pieces go by the names <unk> and <pad>."""
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

    Its first field is a piece, tag 0x0A and a length, and the piece's first its text; so bytes 2 and 3 are not zero.
    """
    return len(head) >= 4 and head[0] == 0x0A and head[2:4] != b"\0\0"


def write_model(vocabulary: Vocabulary, path: Path) -> None:
    """Write a `tokenizer.model`; it appears whole or not at all.

    Raises LlgenError when `path` cannot be written or holds something else than a tokenizer.model.
    """
    with replacing(path) as temporary:
        if path.exists() and not looks_like_model(path.read_bytes()[:4]):
            raise LlgenError(f"'{path}' exists and is no tokenizer.model", "choose another -o")
        temporary.write_bytes(vocabulary.proto)
