"""Unused pieces of a tokenizer: text is merged to them, and further to longer pieces, and then divided again.

SentencePiece divides an unused piece into the parts from which it was merged. The merges inside of a piece do not
depend on the text around it, so these parts can be computed in advance.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise


def divisions(unused: Iterable[str], scores: Mapping[str, float]) -> dict[str, tuple[str, ...]]:
    """Map each unused piece that merging can make to the pieces it is divided into; `scores` are those of all pieces.

    An unused piece of one character has no parts: no text is encoded as it, and the result does not contain it.
    """
    made_of = {piece: halves(piece, scores) for piece in unused}

    def parts(piece: str) -> tuple[str, ...]:
        pair = made_of.get(piece)
        return tuple(part for half in pair for part in parts(half)) if pair else (piece,)

    return {piece: parts(piece) for piece, pair in made_of.items() if pair}


def halves(piece: str, scores: Mapping[str, float]) -> tuple[str, str] | None:
    """The two symbols of the last merge that makes a piece; None when no merge makes it, or it is one character."""
    symbols = list(piece)
    last: tuple[str, str] | None = None
    while len(symbols) > 1:
        pairs = [(scores.get(left + right), left + right) for left, right in pairwise(symbols)]
        known = [(score, -at) for at, (score, _) in enumerate(pairs) if score is not None]
        if not known:
            return None
        at = -max(known)[1]
        last = (symbols[at], symbols[at + 1])
        symbols[at : at + 2] = [pairs[at][1]]
    return last
