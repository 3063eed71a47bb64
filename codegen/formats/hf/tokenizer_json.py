"""Write a vocabulary as `tokenizer.json`, for the `tokenizers` library and programs built on it.

SentencePiece merges the two neighbours whose joined piece has the highest score; of equal scores, the leftmost. The
`tokenizers` library has a list of merges, the first of which has precedence. The two agree on all texts because each
piece has exactly one merge: text between two places without a merge is merged as if it stood alone, so a piece is
always made from the same two halves. `differences` names what such a list cannot express.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from llgen.shown import shown

from ...model.sentence_piece import SPACE, SentencePiece
from ...model.unused_pieces import halves
from ...model.vocabulary import Kind
from .tokenizer_json_parts import added_tokens, post_processor

_ALL = 1 << 20
"""Number of spaces to strip from a text: more than any text has."""


def tokenizer_json(vocabulary: SentencePiece, bos_id: int | None) -> bytes:
    """The content of a `tokenizer.json` that gives SentencePiece's ids, after `bos_id` unless that is None."""
    names = [piece.text for piece in vocabulary.pieces]
    document = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added_tokens(vocabulary),
        "normalizer": _normalizer(vocabulary),
        "pre_tokenizer": _pre_tokenizer(vocabulary),
        "post_processor": None if bos_id is None else post_processor(names[bos_id], bos_id),
        "decoder": _decoder(vocabulary),
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": names[vocabulary.unknown_id],
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": any(piece.kind is Kind.BYTE for piece in vocabulary.pieces),
            "ignore_merges": False,
            "vocab": {name: index for index, name in enumerate(names)},
            "merges": merges(vocabulary),
        },
    }
    return (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode()


# ----------------------------------------------------------------------------------------------------------- merges


def merges(vocabulary: SentencePiece) -> list[tuple[str, str]]:
    """The two halves from which each piece is merged, in the order of merging."""
    scores = _scores(vocabulary, Kind.NORMAL)
    ordered = sorted(scores, key=lambda text: -scores[text])  # stable: of equal scores the lower id
    made_of = [halves(text, scores) for text in ordered]
    return [pair for pair in made_of if pair is not None and scores.keys() >= set(pair)]


def _scores(vocabulary: SentencePiece, *kinds: Kind) -> dict[str, float]:
    return {piece.text: piece.score for piece in vocabulary.pieces if piece.kind in kinds}


def differences(vocabulary: SentencePiece) -> list[str]:
    """Why some texts may get other ids from `tokenizer.json` than from SentencePiece; empty for all usual vocabularies.

    Each reason goes on after "the tokenizer has".
    """
    of_kind = Counter(piece.kind for piece in vocabulary.pieces)
    scores = _scores(vocabulary, Kind.NORMAL)
    merged = [left + right for left, right in merges(vocabulary)]
    tied = len(merged) - len({scores[text] for text in merged})
    letters = {letter for text in scores for letter in text}
    loose = letters - scores.keys()
    with_unused = _scores(vocabulary, Kind.NORMAL, Kind.UNUSED)
    unused = [text for text in with_unused.keys() - scores.keys() if halves(text, with_unused)]
    named = [piece.text for piece in vocabulary.pieces if piece.kind is Kind.CONTROL and len(piece.text) == 1]
    spaced = vocabulary.add_dummy_prefix or vocabulary.remove_extra_whitespaces
    reasons = {
        f"{tied + 1} merged pieces of equal scores": tied,
        f"pieces with a letter that is none itself ({shown(min(loose, default=''))})": loose,
        f"unused pieces that text is merged to ({shown(min(unused, default=''))})": unused,
        "user-defined pieces, and rules for spaces at the ends of a text": of_kind[Kind.USER_DEFINED] and spaced,
        f"only {of_kind[Kind.BYTE]} of 256 bytes": of_kind[Kind.BYTE] % 256,
        f"control pieces of one letter ({shown(min(named, default=''))})": named,
    }
    return [reason for reason, holds in reasons.items() if holds]


# ------------------------------------------------------------------------------------------- what stands around them


def _is_cut(vocabulary: SentencePiece) -> bool:
    """Whether texts are cut around user-defined pieces: `tokenizers` normalises each part like a text of its own."""
    return any(piece.kind is Kind.USER_DEFINED for piece in vocabulary.pieces)


def _normalizer(vocabulary: SentencePiece) -> dict[str, Any]:
    """SentencePiece's handling of spaces, step by step. It strips the end last, including U+2581 in the text."""
    folds, cut = vocabulary.remove_extra_whitespaces, _is_cut(vocabulary)
    steps: list[dict[str, Any]] = []
    if folds and not cut:
        steps.append(_replace({"Regex": r"\A +"}, ""))
    if folds:
        steps.append(_replace({"Regex": " +"}, " "))
    if vocabulary.add_dummy_prefix and not cut:
        steps.append({"type": "Prepend", "prepend": SPACE})
    steps.append(_replace({"String": " "}, SPACE))
    if folds and not cut:
        steps.append(_replace({"Regex": rf"{SPACE}+\z"}, ""))
    return {"type": "Sequence", "normalizers": steps}


def _pre_tokenizer(vocabulary: SentencePiece) -> dict[str, Any] | None:
    """The pre-tokenizer: it puts a space in front of the first part only, unless that part begins with a space."""
    if not (vocabulary.add_dummy_prefix and _is_cut(vocabulary)):
        return None
    return {"type": "Metaspace", "replacement": SPACE, "prepend_scheme": "first", "split": False}


def _decoder(vocabulary: SentencePiece) -> dict[str, Any]:
    """SentencePiece's decoder: it removes one space in front, or all of them when encoding drops all of them."""
    steps: list[dict[str, Any]] = [_replace({"String": SPACE}, " "), {"type": "ByteFallback"}, {"type": "Fuse"}]
    if vocabulary.add_dummy_prefix or vocabulary.remove_extra_whitespaces:
        spaces = _ALL if vocabulary.remove_extra_whitespaces else 1
        steps.append({"type": "Strip", "content": " ", "start": spaces, "stop": 0})
    return {"type": "Sequence", "decoders": steps}


def _replace(pattern: Mapping[str, str], content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": pattern, "content": content}
