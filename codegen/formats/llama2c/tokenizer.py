"""Read llama2.c's `tokenizer.bin` and rebuild a SentencePiece `tokenizer.model` from it; and write `tokenizer.bin`.

The file, little-endian: int32 length of the longest piece, then for each id a float32 score, an int32 length, and the
text as UTF-8 of that length. llama2.c's exporter (tokenizer.py in github.com/karpathy/llama2.c) writes the text as it
is printed: a space for U+2581, "\\n<s>\\n" for BOS and "\\n</s>\\n" for EOS. It does not write the type of a piece, so
<unk>, <s>, </s>, <pad> and the bytes <0x00> to <0xFF> are recognised by their text.

Two older formats exist, from July and August 2023. In both, the piece of a byte is the character of that number; in
the older one, the length of the longest piece is missing, too. Both are read. The very first format had no scores and
is not read: without scores, the file does not determine how a text is divided.

A file does not say whether the trained tokenizer merges repeated spaces (remove_extra_whitespaces), or whether it puts
a space in front of a text. llama2.c's own encoder keeps every space and puts one in front. The rebuilt model does the
same by default. Its ids equal the original's for any text without repeated spaces and without spaces at its ends.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

from llgen.errors import LlgenError
from llgen.lfs import refuse_pointer
from llgen.notices import notice
from llgen.paths import Pathlike
from llgen.whole import replacing

from ...model.sentence_piece import SPACE, SentencePiece, is_byte_name
from ...model.vocabulary import Kind, Piece, padding_piece
from ..sentencepiece_model import Conventions, rebuild

_LONGEST = struct.Struct("<i")
_PIECE = struct.Struct("<fi")
_MAX_BYTES = 64 << 20
_MAX_PIECES = 1 << 20
_HINT = "copy or download it again, or give the tokenizer.model it was made from"

_WITHOUT_LONGEST = _PIECE.pack(0.0, 5) + b"<unk>"
_WITHOUT_SCORES = _LONGEST.pack(5) + b"<unk>"
"""First bytes of the two older formats: their first piece is the unknown one, as in every file."""

_SPECIAL = {
    "<unk>": ("<unk>", Kind.UNKNOWN),
    "\n<s>\n": ("<s>", Kind.CONTROL),
    "\n</s>\n": ("</s>", Kind.CONTROL),
    "<s>": ("<s>", Kind.CONTROL),  # as exporters write it that do not mean to print it
    "</s>": ("</s>", Kind.CONTROL),
    "<pad>": ("<pad>", Kind.CONTROL),
}


def read_tokenizer_bin(path: Pathlike, space_prefix: bool | None = None) -> SentencePiece:
    """Read a `tokenizer.bin`; its pieces continue to the end of the file, because no count is stored.

    `space_prefix` says whether a text is encoded as if it began with a space. None: it is, as in llama2.c, with a
    notice. Raises LlgenError when the file is unreadable, malformed, or cannot come from SentencePiece.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        data = path.read_bytes() if size <= _MAX_BYTES else b""
        refuse_pointer(data, path)
    except OSError as error:
        raise LlgenError(f"cannot read the tokenizer '{path}': {error.strerror}") from error
    if size > _MAX_BYTES:
        raise LlgenError(f"'{path}' has {size} bytes; a tokenizer.bin has at most {_MAX_BYTES}")
    if data.startswith(_WITHOUT_SCORES):
        raise LlgenError(
            f"'{path}' is a llama2.c tokenizer of July 2023, without scores, so that it cannot divide a text", _HINT
        )
    stored = list(_stored(data, str(path)))
    first = _first_character(stored)
    pieces = [
        _byte(index - first, score)
        if first is not None and 0 <= index - first < 256
        else _piece(raw, score, f"'{path}': piece {index}", index)
        for index, (score, raw) in enumerate(stored)
    ]
    if space_prefix is None:
        notice(
            f"'{path}' does not say whether a space is put in front of a text: it is, as llama2.c does;"
            " --no-space-prefix leaves it out"
        )
    conventions = Conventions(add_dummy_prefix=space_prefix is not False)
    return rebuild(pieces, conventions, str(path))


def pack_tokenizer_bin(vocabulary: SentencePiece) -> bytes:
    """The bytes of a `tokenizer.bin`. `read_tokenizer_bin` reads the same pieces; BOS and EOS get their usual names."""
    texts = [_printed(index, piece, vocabulary).encode() for index, piece in enumerate(vocabulary.pieces)]
    packed = bytearray(_LONGEST.pack(max(map(len, texts))))
    for piece, text in zip(vocabulary.pieces, texts, strict=True):
        packed += _PIECE.pack(piece.score, len(text)) + text
    return bytes(packed)


def write_tokenizer_bin(vocabulary: SentencePiece, path: Pathlike) -> None:
    """Write a `tokenizer.bin` completely or not at all.

    Raises LlgenError when `path` cannot be written or holds something else than a tokenizer.bin.
    """
    path = Path(path)
    with replacing(path) as temporary:
        if path.exists() and not looks_like_tokenizer_bin(path.read_bytes()[:64]):
            raise LlgenError(f"'{path}' exists and is no tokenizer.bin", "choose another -o")
        temporary.write_bytes(pack_tokenizer_bin(vocabulary))


def looks_like_tokenizer_bin(head: bytes) -> bool:
    """Whether a file that starts with `head` (64 bytes are plenty) is a tokenizer rather than a v0 checkpoint.

    Both start with a small integer. In a checkpoint, the second word, read as a float32 score, is subnormal; and small
    integers follow, which contain zero bytes. No piece contains a zero byte.
    """
    if len(head) < _LONGEST.size + _PIECE.size:
        return False
    (longest,) = _LONGEST.unpack_from(head)
    score, length = _PIECE.unpack_from(head, _LONGEST.size)
    text = head[_LONGEST.size + _PIECE.size :][: max(length, 0)]
    plausible_score = score == 0.0 or 1e-30 < abs(score) < 1e30
    plausible = 0 <= longest < 1 << 16 and plausible_score and 0 < length < 1 << 16 and b"\0" not in text
    return plausible or head.startswith((_WITHOUT_LONGEST, _WITHOUT_SCORES))


def _printed(index: int, piece: Piece, vocabulary: SentencePiece) -> str:
    if index in (vocabulary.bos_id, vocabulary.eos_id):  # whatever the tokenizer calls them
        return "\n<s>\n" if index == vocabulary.bos_id else "\n</s>\n"
    return piece.text.replace(SPACE, " ")


def _first_character(stored: Sequence[tuple[float, bytes]]) -> int | None:
    """The index of byte 0's piece in a file of 2023, which writes each byte as the character of that number."""
    texts = [raw for _, raw in stored]
    characters = [chr(byte).encode() for byte in range(256)]
    raw = [bytes([byte]) for byte in range(256)]
    places = [at for at, text in enumerate(texts) if text == b"\0"]
    return next((at for at in places if texts[at : at + 256] in (characters, raw)), None)


def _byte(byte: int, score: float) -> Piece:
    return Piece(f"<0x{byte:02X}>", score, Kind.BYTE)


def _stored(data: bytes, source: str) -> Iterator[tuple[float, bytes]]:
    """The score and the text of each piece."""
    if len(data) < _LONGEST.size + _PIECE.size:
        raise LlgenError(f"'{source}' has {len(data)} bytes, too few for a llama2.c tokenizer", _HINT)
    # The longest length is not read: it would have to be checked against the pieces anyway. Older files begin with a
    # score.
    at = 0 if data.startswith(_WITHOUT_LONGEST) else _LONGEST.size
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
        yield score, data[at : at + length]
        at += length
        index += 1


def _piece(raw: bytes, score: float, where: str, index: int) -> Piece:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise LlgenError(f"{where} is not UTF-8: {raw[:32]!r}", _HINT) from error
    if text in _SPECIAL:
        name, kind = _SPECIAL[text]
        return Piece(name, score, kind)
    if text == padding_piece(index, ()).text:
        return Piece(text, score, Kind.UNUSED)
    if is_byte_name(text):
        return Piece(text, score, Kind.BYTE)
    return Piece(text.replace(" ", SPACE), score, Kind.NORMAL)
