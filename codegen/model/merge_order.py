"""By which merge each piece of byte-level BPE arises, and in which order the pieces arise.

BPE merges a word by a list: always the earliest merge of the list that is possible, and of equal ones the leftmost. Two
facts let a word be encoded without a queue of merges; the generated C rests on them (van Antwerpen and Neubeck, "So
many tokens, so little time", 2024):

- A piece of a word arises from the same two parts in every word. No merge crossed its ends, so that its bytes were
  merged as if they stood alone.
- Whether one piece can follow another in a result depends on these two alone. No merge may be possible across the
  border between them at any time. Taking the two apart again, the later piece first, shows all these times.

Most lists name the parts of a piece before the piece. Lists made from ranks of pieces (tiktoken, Llama 3) also hold
early merges, whose part arises late in the list: such a merge happens at once when that part has arisen. Its place in
the order is therefore right after this part.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from heapq import heapify, heappop, heappush

from llgen.errors import LlgenError

Pair = tuple[int, int]
Key = tuple[int, ...]
"""When a merge happens: its place in the list; for an early merge, the key of its later part and then its place."""


def origins(merges: Sequence[Pair], made: Sequence[int], source: str) -> dict[int, Pair]:
    """The two parts of each piece that arises, in the order in which pieces arise.

    `made` holds the piece that each merge makes. A piece that is missing in the result arises from no text, or is a
    single byte. Messages name `source`.
    Raises LlgenError when an early merge can keep its own late part from arising elsewhere in a word.
    """
    composite = frozenset(made)
    waiting: dict[int, list[int]] = defaultdict(list)
    for place, pair in enumerate(merges):
        for part in set(pair) & composite:
            waiting[part].append(place)
    found: dict[int, Pair] = {}
    arose: dict[int, Key] = {}
    keys: dict[Pair, Key] = {
        pair: (place,) for place, pair in reversed(list(enumerate(merges))) if composite.isdisjoint(pair)
    }
    queue = [(key, key[-1]) for key in keys.values()]
    heapify(queue)
    while queue:
        key, place = heappop(queue)
        piece, pair = made[place], merges[place]
        if piece in found or _crossed(pair, key, keys, arose, found):
            continue
        _require_order(pair, key, merges, source)
        found[piece], arose[piece] = pair, key
        for place in waiting[piece]:
            left, right = pair = merges[place]
            if pair not in keys and all(part in arose or part not in composite for part in pair):
                last = max(arose.get(left, ()), arose.get(right, ()))
                keys[pair] = (place,) if (place,) > last else (*last, place)
                heappush(queue, (keys[pair], place))
    return found


def _crossed(
    pair: Pair, limit: Key, keys: Mapping[Pair, Key], arose: Mapping[int, Key], found: Mapping[int, Pair]
) -> bool:
    """Whether a merge before `limit` crosses the border between two pieces.

    They are taken apart in the reverse order of their merges. Of the same two merges, the left one happened first.
    """
    left, right = pair
    inclusive = False
    while True:
        key = keys.get((left, right))
        if key is not None and (key < limit or (inclusive and key == limit)):
            return True
        before, after = arose.get(left, ()), arose.get(right, ())
        if before > after:
            left, limit, inclusive = found[left][1], before, False
        elif after:
            right, limit, inclusive = found[right][0], after, True
        else:
            return False


def _require_order(pair: Pair, key: Key, merges: Sequence[Pair], source: str) -> None:
    """Refuse an early merge with what its late part needs to arise once more, directly after itself."""
    if len(key) > 1 and merges[key[0]][0] == pair[1]:
        raise LlgenError(
            f"'{source}' lists the merge of the tokens {pair[0]} and {pair[1]} before a merge by which they arise",
            "save the tokenizer again",
        )
