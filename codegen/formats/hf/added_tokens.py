"""Tokens that were added after a tokenizer's pieces: their names and kinds, from the files that list them.

`added_tokens.json` maps names to ids, without more facts. `tokenizer_config.json` lists added tokens by id under
`added_tokens_decoder`, `tokenizer.json` under `added_tokens`; both have a flag that says whether a token is special. A
special token, and a token without the flag, becomes a control piece: no text is encoded as it, and it decodes to
nothing. Any other token becomes a user-defined piece: its name in a text is encoded as it, and it decodes to its name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from llgen.errors import LlgenError
from llgen.notices import notice
from llgen.shown import shown

from ...model.vocabulary import Kind, Piece, Vocabulary, padding_piece
from .weights import read_json

ADDED, FAST = "added_tokens.json", "tokenizer.json"
MOST_ROWS = 1 << 20
"""Largest number of embedding rows of a model."""


def read_added(directory: Path, settings: Mapping[str, Any]) -> dict[int, Piece]:
    """The added tokens that a directory's files list, by id; `settings` is the content of `tokenizer_config.json`.

    Raises LlgenError for a list that is malformed.
    """
    fast = directory / FAST
    added = listed_tokens(read_json(fast), fast) if fast.exists() else {}
    decoder = settings.get("added_tokens_decoder")
    for key, entry in decoder.items() if isinstance(decoder, dict) else ():
        if isinstance(entry, dict):
            index = int(key) if str(key).isdecimal() else key
            path = directory / "tokenizer_config.json"
            added |= [_listed(index, entry.get("content"), entry.get("special"), path)]
    if (directory / ADDED).exists():
        for name, index in read_json(directory / ADDED).items():
            added.setdefault(*_listed(index, name, None, directory / ADDED))
    return added


def listed_tokens(raw: Mapping[str, Any], path: Path) -> dict[int, Piece]:
    """The tokens that a `tokenizer.json` lists as added, by id; `raw` is the content of the file `path`.

    Raises LlgenError for a list that is malformed.
    """
    added: dict[int, Piece] = {}
    listed = raw.get("added_tokens")
    for entry in listed if isinstance(listed, list) else []:
        if isinstance(entry, dict):
            added |= [_listed(entry.get("id"), entry.get("content"), entry.get("special"), path)]
    return added


def with_added(vocabulary: Vocabulary, added: Mapping[int, Piece], rows: int) -> Vocabulary:
    """Return the tokenizer with the added tokens that are not among its pieces, and padding in gaps.

    Tokens with ids of `rows` and more are left out, with a notice: the model has no embedding for them.
    """
    pieces = len(vocabulary)
    beyond = sorted(index for index in added if index >= max(rows, pieces))
    if beyond:
        named = ", ".join(f"{index} '{shown(added[index].text)}'" for index in beyond[:3])
        notice(
            f"the model has {rows} rows, so that {len(beyond)} added token{'s' if len(beyond) > 1 else ''} "
            f"beyond them will be left out: {named}"
        )
    last = max((index for index in added if pieces <= index < rows), default=-1)
    if last < 0:
        return vocabulary
    taken = {piece.text for piece in vocabulary.pieces}
    more = []
    for index in range(pieces, last + 1):
        piece = added.get(index) or padding_piece(index, taken)
        if piece.text in taken:
            piece = replace(piece, text=f"{piece.text}@{index}")
        taken.add(piece.text)
        more.append(piece)
    return vocabulary.with_pieces(more)


def _listed(index: object, name: object, special: object, path: Path) -> tuple[int, Piece]:
    """The id and the piece of one entry of a list. Raises LlgenError when it has none."""
    if not isinstance(index, int) or isinstance(index, bool) or index < 0 or not isinstance(name, str) or not name:
        raise LlgenError(f"'{path}' lists an added token that has no id and name", "save the tokenizer again")
    return index, Piece(name, 0.0, Kind.USER_DEFINED if special is False else Kind.CONTROL)
