"""Write a SentencePiece `tokenizer.model` from a list of pieces, for tokenizers that arrive in another form."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from sentencepiece import sentencepiece_model_pb2 as schema

from ..errors import LlgenError
from ..vocabulary import Kind, Piece, Vocabulary


def build_proto(pieces: Sequence[Piece]) -> bytes:
    """Serialise a BPE model: identity normalisation, a space put before the text, spaces kept as they are.

    The special pieces go by SentencePiece's default names: <unk>, <s>, </s>, <pad>.
    """
    model = schema.ModelProto()
    for piece in pieces:
        model.pieces.add(piece=piece.text, score=piece.score, type=int(piece.kind))
    special = {piece.text: index for index, piece in enumerate(pieces) if piece.kind in (Kind.UNKNOWN, Kind.CONTROL)}
    trainer = model.trainer_spec
    trainer.model_type = schema.TrainerSpec.BPE
    trainer.vocab_size = len(pieces)
    trainer.byte_fallback = any(piece.kind is Kind.BYTE for piece in pieces)
    trainer.unk_id = special.get("<unk>", -1)
    trainer.bos_id = special.get("<s>", -1)
    trainer.eos_id = special.get("</s>", -1)
    trainer.pad_id = special.get("<pad>", -1)
    normalizer = model.normalizer_spec
    normalizer.name = "identity"
    normalizer.add_dummy_prefix = True
    normalizer.remove_extra_whitespaces = False
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
    try:
        if path.exists() and not looks_like_model(path.read_bytes()[:4]):
            raise LlgenError(f"'{path}' exists and is no tokenizer.model", "choose another -o")
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as directory:
            temporary = Path(directory) / path.name
            temporary.write_bytes(vocabulary.proto)
            temporary.replace(path)
    except OSError as error:
        raise LlgenError(f"cannot write '{path}': {error.strerror}", "choose another -o") from error
