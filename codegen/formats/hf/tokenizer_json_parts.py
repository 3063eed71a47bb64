"""The parts that every `tokenizer.json` has: steps of processing, names of pieces, merges."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from llgen.errors import LlgenError
from llgen.shown import shown_value

from ...model.vocabulary import Kind, Vocabulary

_HINT = "give its tokenizer.model as --tokenizer, or import the model with --no-tokenizer"


def names_by_id(path: Path, model: Mapping[str, Any]) -> list[str]:
    """Pieces in the order of their ids, which must have no gaps."""
    vocab = model.get("vocab")
    if not isinstance(vocab, dict) or not all(isinstance(index, int) for index in vocab.values()):
        raise LlgenError(f"'{path}' has no vocab from pieces to ids", "save the tokenizer again")
    names = sorted(vocab, key=lambda name: vocab[name])
    if [vocab[name] for name in names] != list(range(len(names))):
        raise LlgenError(f"'{path}' has a vocab whose ids are not 0 to {len(names) - 1}", "save the tokenizer again")
    return names


def merge_places(path: Path, model: Mapping[str, Any]) -> dict[tuple[str, str], int]:
    """The position of each pair. A pair is a list of two texts; in older files, one text with a space between them."""
    places: dict[tuple[str, str], int] = {}
    listed = model.get("merges")
    for place, entry in enumerate(listed if isinstance(listed, list) else []):
        pair = tuple(entry.split(" ")) if isinstance(entry, str) else tuple(entry) if isinstance(entry, list) else ()
        if len(pair) != 2 or not all(isinstance(half, str) for half in pair):
            raise LlgenError(f"'{path}': merge {place} is {shown_value(entry)}, not a pair", "save the tokenizer again")
        places[pair[0], pair[1]] = place
    return places


def steps(path: Path, value: object, key: str) -> Iterator[Mapping[str, Any]]:
    """The steps of a sequence, or a single step. Raises LlgenError for anything else."""
    waiting = [] if value is None else [value]
    while waiting:
        step = waiting.pop()
        listed = step.get(key) if isinstance(step, dict) and step.get("type") == "Sequence" else []
        if not isinstance(step, dict) or not isinstance(listed, list):
            wrong = listed if isinstance(step, dict) else step
            raise LlgenError(f"'{path}' has {shown_value(wrong)} among its {key}", "save the tokenizer again")
        if step.get("type") == "Sequence":
            waiting += reversed(listed)
        else:
            yield step


def refused(path: Path, what: str) -> LlgenError:
    return LlgenError(f"'{path}' has {what}, which llgen does not read yet", _HINT)


def added_tokens(vocabulary: Vocabulary) -> list[dict[str, Any]]:
    """The list of the pieces that text becomes before it is divided, or never."""
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return [
        {"id": index, "content": piece.text, **flags, "special": piece.kind is not Kind.USER_DEFINED}
        for index, piece in enumerate(vocabulary.pieces)
        if piece.kind in (Kind.UNKNOWN, Kind.CONTROL, Kind.USER_DEFINED)
    ]


def post_processor(bos: str, bos_id: int) -> dict[str, Any]:
    """The post-processor: BOS in front of a text, and in front of the second text of a pair."""

    def begun(name: str, text: int) -> list[dict[str, Any]]:
        return [{kind: {"id": value, "type_id": text}} for kind, value in (("SpecialToken", bos), ("Sequence", name))]

    special = {bos: {"id": bos, "ids": [bos_id], "tokens": [bos]}}
    pair = begun("A", 0) + begun("B", 1)
    return {"type": "TemplateProcessing", "single": begun("A", 0), "pair": pair, "special_tokens": special}
