"""A vocabulary in GGUF's metadata. SentencePiece's is llama.cpp's model "llama": tokens with U+2581, scores, types.

byte_level.py has the other kind, the model "gpt2". Pieces, scores and types of SentencePiece are copied unchanged,
because GGUF's token types are SentencePiece's. The rebuilt tokenizer.model encodes every text as the original does, but
is not the same file.
"""

from __future__ import annotations

from dataclasses import replace

from gguf import GGUFWriter

from llgen.errors import LlgenError
from llgen.notices import notice
from llgen.shown import shown, shown_value

from ...model.byte_level import ByteLevel
from ...model.config import ModelConfig
from ...model.sentence_piece import SPACE, SentencePiece, is_byte_name, user_defined
from ...model.text_tokens import BOS, EOS, Claim
from ...model.vocabulary import Kind, Piece, Vocabulary
from ..sentencepiece_model import Conventions, rebuild
from . import byte_level
from .byte_level import write_byte_level
from .container import GgufFile, Value
from .metadata import Metadata

MODEL = "llama"
_NO_MODEL = ("none", "no_vocab")
_PREFIX = "tokenizer.ggml"
_MODEL_KEY = f"{_PREFIX}.model"
_UNKNOWN = 0
"""The unknown piece that llama.cpp assumes when the file does not name one."""
_LEAVE_OUT = "convert it again, or import it with --no-tokenizer"


def write_vocabulary(writer: GGUFWriter, vocabulary: Vocabulary | None, config: ModelConfig) -> None:
    """Add a vocabulary, or the entry that says that there is none; and the tokens that begin and end a text."""
    if vocabulary is None:
        writer.add_tokenizer_model(_NO_MODEL[0])
    elif isinstance(vocabulary, ByteLevel):
        write_byte_level(writer, vocabulary)
    else:
        assert isinstance(vocabulary, SentencePiece)
        writer.add_tokenizer_model(MODEL)
        writer.add_tokenizer_pre("default")
        writer.add_token_list([_written(piece) for piece in vocabulary.pieces])
        writer.add_token_scores([piece.score for piece in vocabulary.pieces])
        writer.add_token_types([int(piece.kind) for piece in vocabulary.pieces])
        writer.add_unk_token_id(vocabulary.unknown_id)
        writer.add_add_space_prefix(vocabulary.add_dummy_prefix)
        writer.add_remove_extra_whitespaces(vocabulary.remove_extra_whitespaces)
    writer.add_add_bos_token(config.bos_id is not None)
    writer.add_add_eos_token(False)
    known = config.bos_id if vocabulary is None or config.bos_id is not None else vocabulary.bos_id
    if known is not None and known >= 0:
        writer.add_bos_token_id(known)
    _write_ends(writer, config)


def _write_ends(writer: GGUFWriter, config: ModelConfig) -> None:
    """Add the tokens that end a text: EOS, and as many others as llama.cpp has keys for."""
    ends = dict.fromkeys(token for token in (config.eos_id, *config.end_ids) if token is not None)
    adders = (writer.add_eos_token_id, writer.add_eot_token_id, writer.add_eom_token_id)
    for add, token in zip(adders, ends, strict=False):
        add(token)
    left = list(ends)[len(adders) :]
    if left:
        listed = ", ".join(map(str, left))
        notice(f"GGUF has room for {len(adders)} tokens that end a text, so that llama.cpp will not stop at {listed}")


def _written(piece: Piece) -> str:
    """The text of a piece in GGUF. llama.cpp looks for user-defined tokens before it replaces spaces by U+2581."""
    return piece.text.replace(SPACE, " ") if piece.kind is Kind.USER_DEFINED else piece.text


def claim_of_file(file: GgufFile) -> Claim:
    """The claims of a file about the tokens that begin and end a text; for missing keys, llama.cpp's defaults."""
    meta = Metadata(file.path, file.metadata)
    ends = [meta.whole(f"{_PREFIX}.eos_token_id", EOS)]
    ends += [meta.whole(key) for key in (f"{_PREFIX}.eot_token_id", f"{_PREFIX}.eom_token_id") if key in meta.pairs]
    bytewise, key = meta.pairs.get(_MODEL_KEY) == byte_level.MODEL, f"{_PREFIX}.bos_token_id"
    adds = meta.flag(f"{_PREFIX}.add_bos_token", byte_level.adds_bos(meta) if bytewise else True)
    bos = meta.whole(key, BOS) if adds or key in meta.pairs else None
    return Claim(file.path.name, bos=bos, adds_bos=adds, ends=tuple(dict.fromkeys(ends)))


def read_vocabulary(file: GgufFile) -> Vocabulary | None:
    """Read the vocabulary of a file; None when it has none.

    Scores and types may be missing, as in llama.cpp: all scores are then equal, and a piece is normal unless its name
    or number makes it a byte, control or unknown piece.
    Raises LlgenError for a tokenizer that is not SentencePiece BPE, and for lists of different lengths.
    """
    meta = Metadata(file.path, file.metadata)
    if not any(key.startswith(f"{_PREFIX}.") for key in meta.pairs) or meta.pairs.get(_MODEL_KEY) in _NO_MODEL:
        return None
    model = meta.text(_MODEL_KEY)
    if model == byte_level.MODEL:
        return _byte_level(meta)
    if model != MODEL:
        raise LlgenError(
            f"'{file.path}' has the tokenizer '{shown(model)}'; llgen supports '{MODEL}', which is SentencePiece BPE, "
            f"and '{byte_level.MODEL}', which is byte-level BPE",
            "if the model came with a tokenizer.model, give it as --tokenizer; --no-tokenizer imports it without one",
        )
    pieces = _pieces(meta)
    defaults = Conventions()
    conventions = Conventions(
        bos=_control(pieces, meta.whole(f"{_PREFIX}.bos_token_id", BOS), defaults.bos),
        eos=_control(pieces, meta.whole(f"{_PREFIX}.eos_token_id", EOS), defaults.eos),
        add_dummy_prefix=meta.flag(f"{_PREFIX}.add_space_prefix", True),
        remove_extra_whitespaces=meta.flag(f"{_PREFIX}.remove_extra_whitespaces", False),
    )
    return rebuild(pieces, conventions, str(file.path))


def _byte_level(meta: Metadata) -> ByteLevel:
    texts = meta.texts(f"{_PREFIX}.tokens")
    kinds = _list(meta, f"{_PREFIX}.token_type", [int(Kind.NORMAL)] * len(texts))
    if len(texts) != len(kinds):
        raise LlgenError(f"'{meta.path}' has {len(texts)} tokens and {len(kinds)} token types", _LEAVE_OUT)
    return byte_level.read_byte_level(meta, texts, [_kind(meta, index, kind) for index, kind in enumerate(kinds)])


def _pieces(meta: Metadata) -> list[Piece]:
    texts = _list(meta, f"{_PREFIX}.tokens")
    scores = _list(meta, f"{_PREFIX}.scores", [0.0] * len(texts))
    kinds = _list(meta, f"{_PREFIX}.token_type", _usual_kinds(meta, texts))
    if not len(texts) == len(scores) == len(kinds):
        raise LlgenError(
            f"'{meta.path}' has {len(texts)} tokens, {len(scores)} scores and {len(kinds)} token types",
            _LEAVE_OUT,
        )
    pieces = [_piece(meta, index, *fields) for index, fields in enumerate(zip(texts, scores, kinds, strict=True))]
    unknown = meta.whole(f"{_PREFIX}.unknown_token_id", _UNKNOWN)
    if not any(piece.kind is Kind.UNKNOWN for piece in pieces) and 0 <= unknown < len(pieces):
        pieces[unknown] = replace(pieces[unknown], kind=Kind.UNKNOWN)
    return pieces


def _usual_kinds(meta: Metadata, texts: list[Value]) -> list[Value]:
    """The types of tokens when the file holds only their texts."""
    control = {meta.whole(f"{_PREFIX}.bos_token_id", BOS), meta.whole(f"{_PREFIX}.eos_token_id", EOS)}
    return [
        int(Kind.CONTROL if index in control else Kind.BYTE if is_byte_name(str(text)) else Kind.NORMAL)
        for index, text in enumerate(texts)
    ]


def _list(meta: Metadata, key: str, default: list[Value] | None = None) -> list[Value]:
    value = meta.pairs.get(key, default)
    if value is None:
        raise meta.missing(key)
    if not isinstance(value, list):
        raise LlgenError(f"'{meta.path}' has {key} = {shown_value(value)}; it must be a list", _LEAVE_OUT)
    return list(value)


def _piece(meta: Metadata, index: int, text: Value, score: Value, kind: Value) -> Piece:
    known = _kind(meta, index, kind)
    if not isinstance(text, str) or not isinstance(score, float):
        raise LlgenError(
            f"'{meta.path}': token {index} is {shown_value(text)} with the score {shown_value(score)}, "
            "not a text and a number",
            _LEAVE_OUT,
        )
    return replace(user_defined(text), score=score) if known is Kind.USER_DEFINED else Piece(text, score, known)


def _kind(meta: Metadata, index: int, kind: Value) -> Kind:
    try:
        return Kind(kind)  # type: ignore[arg-type]  # anything may stand in the file
    except ValueError as error:
        raise LlgenError(
            f"'{meta.path}': token {index} has the type {shown_value(kind)}; it must be 1 to 6", _LEAVE_OUT
        ) from error


def _control(pieces: list[Piece], index: int, default: str) -> str:
    """The text of the control piece `index`."""
    if 0 <= index < len(pieces) and pieces[index].kind is Kind.CONTROL:
        return pieces[index].text
    return default
