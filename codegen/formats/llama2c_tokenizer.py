"""Read llama2.c's `tokenizer.bin`, from which a SentencePiece `tokenizer.model` is rebuilt; and write it.

The file, little-endian: int32 length of the longest piece, then for each id a float32 score, an int32 length and that
many bytes of UTF-8. llama2.c's exporter (tokenizer.py in github.com/karpathy/llama2.c) writes text as it prints it:
U+2581 has become a space, BOS "\\n<s>\\n" and EOS "\\n</s>\\n". What kind a piece is, it does not write; so <unk>, <s>,
</s>, <pad> and the bytes <0x00> to <0xFF> are known by their text.

Nor does it say whether the trained tokenizer folded runs of spaces (remove_extra_whitespaces). llama2.c's own encoder
keeps every space, and so does the model rebuilt here; ids agree with the original for any text without spaces at its
ends or two in a row.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from pathlib import Path

from ..errors import LlgenError
from ..vocabulary import SPACE, Kind, Piece, Vocabulary
from .output import replacing
from .sentencepiece_model import build_proto

_LONGEST = struct.Struct("<i")
_PIECE = struct.Struct("<fi")
_MAX_BYTES = 64 << 20
_MAX_PIECES = 1 << 20
_HINT = "copy or download it again, or give the tokenizer.model it was made from"

_SPECIAL = {
    "<unk>": ("<unk>", Kind.UNKNOWN),
    "\n<s>\n": ("<s>", Kind.CONTROL),
    "\n</s>\n": ("</s>", Kind.CONTROL),
    "<s>": ("<s>", Kind.CONTROL),  # as exporters write it that do not mean to print it
    "</s>": ("</s>", Kind.CONTROL),
    "<pad>": ("<pad>", Kind.CONTROL),
}
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")  # SentencePiece writes upper case only


def read_tokenizer_bin(path: Path) -> Vocabulary:
    """Read a `tokenizer.bin`; pieces run to the end of the file, which does not say how many they are.

    Raises LlgenError when the file is unreadable, malformed, or none that SentencePiece could have been exported to.
    """
    try:
        size = path.stat().st_size
        data = path.read_bytes() if size <= _MAX_BYTES else b""
    except OSError as error:
        raise LlgenError(f"cannot read the tokenizer '{path}': {error.strerror}") from error
    if size > _MAX_BYTES:
        raise LlgenError(f"'{path}' has {size} bytes; a tokenizer.bin has at most {_MAX_BYTES}")
    pieces = list(_pieces(data, str(path)))
    return Vocabulary.from_proto(build_proto(pieces), str(path))


def pack_tokenizer_bin(vocabulary: Vocabulary) -> bytes:
    """A vocabulary as a `tokenizer.bin`; `read_tokenizer_bin` gives its pieces back, BOS and EOS by the usual names."""
    texts = [_printed(index, piece, vocabulary).encode() for index, piece in enumerate(vocabulary.pieces)]
    packed = bytearray(_LONGEST.pack(max(map(len, texts))))
    for piece, text in zip(vocabulary.pieces, texts, strict=True):
        packed += _PIECE.pack(piece.score, len(text)) + text
    return bytes(packed)


def write_tokenizer_bin(vocabulary: Vocabulary, path: Path) -> None:
    """Write a `tokenizer.bin`; it appears whole or not at all.

    Raises LlgenError when `path` cannot be written or holds something else than a tokenizer.bin.
    """
    with replacing(path) as temporary:
        if path.exists() and not looks_like_tokenizer_bin(path.read_bytes()[:64]):
            raise LlgenError(f"'{path}' exists and is no tokenizer.bin", "choose another -o")
        temporary.write_bytes(pack_tokenizer_bin(vocabulary))


def looks_like_tokenizer_bin(head: bytes) -> bool:
    """Whether a file that starts with `head` (64 bytes are plenty) is a tokenizer rather than a v0 checkpoint.

    Both start with a small number. But a checkpoint's second word, read as a score, is subnormal, and small numbers
    follow, whose zero bytes no piece contains.
    """
    if len(head) < _LONGEST.size + _PIECE.size:
        return False
    (longest,) = _LONGEST.unpack_from(head)
    score, length = _PIECE.unpack_from(head, _LONGEST.size)
    text = head[_LONGEST.size + _PIECE.size :][: max(length, 0)]
    plausible_score = score == 0.0 or 1e-30 < abs(score) < 1e30
    return 0 <= longest < 1 << 16 and plausible_score and 0 < length < 1 << 16 and b"\0" not in text


def _printed(index: int, piece: Piece, vocabulary: Vocabulary) -> str:
    if index in (vocabulary.bos_id, vocabulary.eos_id):  # whatever the tokenizer calls them
        return "\n<s>\n" if index == vocabulary.bos_id else "\n</s>\n"
    return piece.text.replace(SPACE, " ")


def _pieces(data: bytes, source: str) -> Iterator[Piece]:
    if len(data) < _LONGEST.size + _PIECE.size:
        raise LlgenError(f"'{source}' has {len(data)} bytes, too few for a llama2.c tokenizer", _HINT)
    at = _LONGEST.size  # the longest length is not read: it would have to be checked against the pieces anyway
    index = 0
    while at < len(data):
        if index == _MAX_PIECES:
            raise LlgenError(f"'{source}' holds more than {_MAX_PIECES} pieces", _HINT)
        if len(data) - at < _PIECE.size:
            raise LlgenError(f"'{source}' is truncated: it ends within the score and length of piece {index}", _HINT)
        score, length = _PIECE.unpack_from(data, at)
        at += _PIECE.size
        if not 1 <= length <= len(data) - at:
            raise LlgenError(
                f"'{source}' is damaged or no llama2.c tokenizer: "
                f"piece {index} has length {length}; it must be 1 to {len(data) - at}, the bytes left",
                _HINT,
            )
        yield _piece(data[at : at + length], score, f"'{source}': piece {index}")
        at += length
        index += 1


def _piece(raw: bytes, score: float, where: str) -> Piece:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise LlgenError(f"{where} is not UTF-8: {raw[:32]!r}", _HINT) from error
    if text in _SPECIAL:
        name, kind = _SPECIAL[text]
        return Piece(name, score, kind)
    if _BYTE.fullmatch(text):
        return Piece(text, score, Kind.BYTE)
    return Piece(text.replace(" ", SPACE), score, Kind.NORMAL)
