"""Read and write byte-level BPE as `tokenizer.json`, the file of Hugging Face's `tokenizers` library."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from llgen.errors import LlgenError
from llgen.shown import shown, shown_value

from ...model.byte_level import ByteLevel, bytes_of
from ...model.vocabulary import Kind, Piece
from ...model.word_pattern import DIGITS, GPT2, WordPattern
from .tokenizer_json_parts import added_tokens, merge_places, names_by_id, post_processor, refused, steps


def is_byte_level(raw: Mapping[str, Any], path: Path) -> bool:
    """Whether the content of a `tokenizer.json` names bytes by characters, before it divides text or in its decoder."""
    found = [*steps(path, raw.get("pre_tokenizer"), "pretokenizers"), *steps(path, raw.get("decoder"), "decoders")]
    return any(step.get("type") == "ByteLevel" for step in found)


def read_byte_level_json(raw: Mapping[str, Any], path: Path, added: Mapping[int, Piece]) -> ByteLevel:
    """Read the vocabulary from the content of a `tokenizer.json`; `added` holds the tokens that it lists as added.

    Raises LlgenError for a feature that the generated tokenizer lacks; the message names it.
    """
    model = raw["model"]
    for key in ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback", "unk_token"):
        if model.get(key):
            raise refused(path, f"{key} = {shown_value(model[key])}")
    for step in steps(path, raw.get("normalizer"), "normalizers"):
        raise refused(path, f"the normaliser {shown(str(step.get('type')))}")
    _require_plain(raw.get("added_tokens"), path)
    names = names_by_id(path, model)
    pieces = tuple(added.get(index) or normal_piece(name, index, str(path)) for index, name in enumerate(names))
    merges = merge_ids(merge_places(path, model), names, str(path))
    _require_apart(added, merges, names, path)
    return ByteLevel(
        pieces=pieces,
        unknown_id=-1,
        bos_id=-1,
        eos_id=-1,
        merges=merges,
        pattern=WordPattern.of(_expressions(raw, path)),
        whole_words=model.get("ignore_merges") is True,
    )


def normal_piece(name: str, index: int, source: str) -> Piece:
    """The piece of a name; messages name `source`. Raises LlgenError when characters of the name stand for no byte."""
    if bytes_of(name) is None:
        raise LlgenError(
            f"'{source}': the characters of token {index} '{shown(name)}' stand for no bytes",
            "save the tokenizer again",
        )
    return Piece(name, 0.0, Kind.NORMAL)


def merge_ids(merges: Iterable[tuple[str, str]], names: Sequence[str], source: str) -> tuple[tuple[int, int], ...]:
    """The pairs of ids of merges, given by the names of both parts.

    Raises LlgenError when the parts, or what they make, are no pieces.
    """
    ids = {name: index for index, name in enumerate(names)}
    for left, right in merges:
        for name in (left, right, left + right):
            if name not in ids:
                raise LlgenError(
                    f"'{source}' merges '{shown(left)}' and '{shown(right)}', and '{shown(name)}' is no piece",
                    "save the tokenizer again",
                )
    return tuple((ids[left], ids[right]) for left, right in merges)


def _require_plain(listed: object, path: Path) -> None:
    """Refuse an added token that takes the spaces around it, or is only found between spaces."""
    for entry in listed if isinstance(listed, list) else []:
        if isinstance(entry, dict) and entry.get("special") is False:
            for flag in ("single_word", "lstrip", "rstrip"):
                if entry.get(flag):
                    raise refused(path, f"an added token '{shown(str(entry.get('content')))}' with {flag}")


def _require_apart(
    added: Mapping[int, Piece], merges: Iterable[tuple[int, int]], names: Sequence[str], path: Path
) -> None:
    """Refuse an added token that bytes are merged to as well, or that is a single byte."""
    merged = {part for pair in merges for part in pair}
    for index in sorted(index for index in added if index < len(names)):
        if index in merged or len(names[index]) == 1:
            raise refused(path, f"an added token '{shown(names[index])}' that other text is merged to, too")


def _expressions(raw: Mapping[str, Any], path: Path) -> Iterator[str]:
    """The expressions that divide text, one after the other."""
    for step in steps(path, raw.get("pre_tokenizer"), "pretokenizers"):
        kind = step.get("type")
        if kind == "Digits":
            yield DIGITS if step.get("individual_digits") else _RUNS_OF_DIGITS
        elif kind == "Split":
            yield _split(step, path)
        elif kind == "ByteLevel":
            if step.get("add_prefix_space", True):
                raise refused(path, "a space put in front of a text")
            if step.get("use_regex", True):
                yield GPT2
        else:
            raise refused(path, f"a step {shown(str(kind))} ({shown_value(step)})")


_RUNS_OF_DIGITS = r"\p{N}+|\P{N}+"


def _split(step: Mapping[str, Any], path: Path) -> str:
    """The expression of a step whose matches are the words."""
    pattern, words = step.get("pattern"), (step.get("behavior"), bool(step.get("invert")))
    source = pattern.get("Regex") if isinstance(pattern, dict) else None
    if not isinstance(source, str) or words not in (("Isolated", False), ("Removed", True)):
        raise refused(path, f"a step Split ({shown_value(step)})")
    return source


# ---------------------------------------------------------------------------------------------------------- writing


def byte_level_json(vocabulary: ByteLevel, bos_id: int | None) -> bytes:
    """The content of a `tokenizer.json` that gives the same ids, after `bos_id` unless that is None."""
    names = [piece.text for piece in vocabulary.pieces]
    *first, last = vocabulary.pattern.sources
    plain = last == GPT2
    cuts = [_cut(source) for source in (first if plain else vocabulary.pattern.sources)]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": plain}
    document = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added_tokens(vocabulary),
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [*cuts, byte_level]},
        "post_processor": None if bos_id is None else post_processor(names[bos_id], bos_id),
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": vocabulary.whole_words,
            "vocab": {name: index for index, name in enumerate(names)},
            "merges": [[names[left], names[right]] for left, right in vocabulary.merges],
        },
    }
    return (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode()


def _cut(source: str) -> dict[str, Any]:
    if source in (DIGITS, _RUNS_OF_DIGITS):
        return {"type": "Digits", "individual_digits": source == DIGITS}
    return {"type": "Split", "pattern": {"Regex": source}, "behavior": "Isolated", "invert": False}
