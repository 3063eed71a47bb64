"""Read a `tokenizer.json`: byte-level BPE, or what SentencePiece could express, BPE over characters with U+2581.

The `tokenizers` library merges pairs by their position in a list, SentencePiece by the score of the merged piece. The
two agree when a piece's score is the position of the last pair that makes the piece, because the merges inside of a
piece do not depend on the text around it. A piece that no merge makes gets the lowest score and the type "unused", so
that it is divided again. Features that SentencePiece lacks are refused by name: byte-level pieces, rules for words,
other normalisers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from llgen.notices import notice
from llgen.shown import shown, shown_value

from ...model.sentence_piece import SPACE, is_byte_name, user_defined
from ...model.text_tokens import Claim
from ...model.vocabulary import Kind, Piece, Vocabulary
from ..sentencepiece_model import Conventions, rebuild
from .added_tokens import listed_tokens
from .byte_level_json import is_byte_level, read_byte_level_json
from .tokenizer_json_parts import merge_places, names_by_id, refused, steps
from .weights import read_json


def is_tokenizer_json(path: Path) -> bool:
    """Whether a JSON file holds a tokenizer of the `tokenizers` library. Raises LlgenError when it is malformed."""
    return isinstance(read_json(path).get("model"), dict)


def read_tokenizer_json(path: Path) -> Vocabulary:
    """Read the vocabulary of a file, without the tokens added after its pieces, which `read_added` reads.

    A notice says where SentencePiece's rule for the space in front differs. Raises LlgenError for a tokenizer that
    SentencePiece cannot express; the message names the feature.
    """
    raw = read_json(path)
    model = raw.get("model")
    if not isinstance(model, dict) or model.get("type", "BPE") != "BPE":
        kind = model.get("type") if isinstance(model, dict) else model
        raise refused(path, f"a model of type {shown_value(kind)}, not BPE")
    if is_byte_level(raw, path):
        return read_byte_level_json(raw, path, listed_tokens(raw, path))
    for key in ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "ignore_merges"):
        if model.get(key):
            raise refused(path, f"{key} = {shown_value(model[key])}")
    conventions = _conventions(path, raw, names_by_id(path, model))
    return rebuild(_pieces(path, raw, model), conventions, str(path))


def claim_of_json(path: Path) -> Claim:
    """The claim of a file's templates about the token in front of a text; empty for a processor of another type.

    Raises LlgenError when the list of processors is malformed.
    """
    bos: int | None = None
    for step in steps(path, read_json(path).get("post_processor"), "processors"):
        if step.get("type") == "TemplateProcessing":
            single = step.get("single")
            first = single[0] if isinstance(single, list) and single else None
            if isinstance(first, dict) and "SpecialToken" in first:
                bos = _only_id(first["SpecialToken"], step.get("special_tokens"))
                if bos is None:
                    return Claim(path.name)
        elif step.get("type") not in _PUTS_NOTHING:
            return Claim(path.name)
    return Claim(path.name, bos=bos, adds_bos=bos is not None)


_PUTS_NOTHING = ("ByteLevel",)
"""Types of processors that add no token."""


def _only_id(named: object, specials: object) -> int | None:
    """The id of a template's token; None when it has several ids, or none."""
    name = named.get("id") if isinstance(named, dict) else None
    entry = specials.get(name) if isinstance(specials, dict) and isinstance(name, str) else None
    ids = entry.get("ids") if isinstance(entry, dict) else None
    return ids[0] if isinstance(ids, list) and len(ids) == 1 and type(ids[0]) is int else None


# ----------------------------------------------------------------------------------------------------------- pieces


def _made(name: str, merges: Mapping[tuple[str, str], int]) -> int | None:
    """The position of the last pair that makes a piece; None when no merge makes the piece."""
    symbols, last = list(name), None
    while len(symbols) > 1:
        known = [(merges[pair], at) for at, pair in enumerate(pairwise(symbols)) if pair in merges]
        if not known:
            return None
        last, at = min(known)
        symbols[at : at + 2] = [symbols[at] + symbols[at + 1]]
    return last


def _pieces(path: Path, raw: Mapping[str, Any], model: Mapping[str, Any]) -> list[Piece]:
    names, merges = names_by_id(path, model), merge_places(path, model)
    unknown, falls_back = model.get("unk_token"), model.get("byte_fallback") is True
    if unknown is None and falls_back:  # nothing is unknown then, but SentencePiece asks for such a piece
        unknown = "<unk>"
    if unknown not in names:
        raise refused(path, f"unk_token = {shown_value(unknown)}, which is no piece")
    if not falls_back and not model.get("fuse_unk"):
        raise refused(path, "an unknown token for each unknown character, not one for a run of them")
    if falls_back and not {f"<0x{byte:02X}>" for byte in range(256)} <= set(names):
        raise refused(path, "byte_fallback without a piece for each of the 256 bytes")
    added = {index: piece.kind for index, piece in listed_tokens(raw, path).items()}

    def piece(index: int, name: str) -> Piece:
        if name == unknown:
            return Piece(name, 0.0, Kind.UNKNOWN)
        if added.get(index) is Kind.USER_DEFINED:
            return user_defined(name)
        if index in added:
            return Piece(name, 0.0, added[index])
        if falls_back and is_byte_name(name):
            return Piece(name, 0.0, Kind.BYTE)
        if len(name) == 1:
            return Piece(name, float(-len(merges)), Kind.NORMAL)
        place = _made(name, merges)
        if place is None:
            return Piece(name, float(-len(merges) - 1), Kind.UNUSED)
        return Piece(name, float(-place), Kind.NORMAL)

    return [piece(index, name) for index, name in enumerate(names)]


# ------------------------------------------------------------------------------------------------------------- text


def _conventions(path: Path, raw: Mapping[str, Any], names: Sequence[str]) -> Conventions:
    """How spaces in a text are treated."""
    normal = list(steps(path, raw.get("normalizer"), "normalizers"))
    cuts = list(steps(path, raw.get("pre_tokenizer"), "pretokenizers"))
    folds = [step for step in normal if step in _FOLDS]
    prepends = {"type": "Prepend", "prepend": SPACE} in normal
    escapes = _ESCAPE in normal
    other = [step for step in normal if step not in (*_FOLDS, _ESCAPE, {"type": "Prepend", "prepend": SPACE})]
    if folds not in ([], list(_FOLDS)):
        other += folds
    for step in (*other, *(cut for cut in cuts if cut.get("type") != "Metaspace"), *cuts[1:]):
        kind = shown(str(step.get("type")))
        what = "byte-level BPE" if kind == "ByteLevel" else f"a step {kind} ({shown_value(step)})"
        raise refused(path, what)
    if cuts:
        escapes = True
        prepends = _metaspace(path, cuts[0], names) or prepends
    if not escapes:
        raise refused(path, "spaces that stay spaces")
    return Conventions(add_dummy_prefix=prepends, remove_extra_whitespaces=bool(folds))


def _metaspace(path: Path, step: Mapping[str, Any], names: Sequence[str]) -> bool:
    """Whether a pre-tokenizer that writes spaces as U+2581 puts a space in front of a text."""
    if step.get("replacement", SPACE) != SPACE:
        raise refused(path, f"spaces written as {shown_value(step.get('replacement'))}")
    if step.get("split", True) and any(SPACE in name[1:] for name in names):
        raise refused(path, "words that are divided apart, and pieces that hold a space after another character")
    scheme = step.get("prepend_scheme", "always" if step.get("add_prefix_space", True) else "never")
    if scheme == "never":
        return False
    notice(
        f"'{path}' puts no space in front of a text that begins with one; llgen, like SentencePiece, does:"
        " the tokens of such a text differ"
    )
    return True


_ESCAPE = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
_FOLDS = (
    {"type": "Replace", "pattern": {"Regex": r"\A +"}, "content": ""},
    {"type": "Replace", "pattern": {"Regex": " +"}, "content": " "},
    {"type": "Replace", "pattern": {"Regex": rf"{SPACE}+\z"}, "content": ""},
)
"""Steps that remove repeated spaces, and spaces at the ends of a text."""
