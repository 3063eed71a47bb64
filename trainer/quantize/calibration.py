"""Batches of texts to calibrate on and to learn from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import torch
from torch import Tensor

from llgen.codegen.vocabulary import Vocabulary

from ..evaluate import encode_documents

BATCH = 16
"""Texts of a batch, at most."""
_SHORTEST = 3
"""Tokens of a document that has something to predict, behind what it begins with and what that already says."""
_ALIKE = 1.5
"""How much longer than the shortest of its batch a document may be: what is longer is cut off."""
_MOST_LOGITS = 1 << 25
"""Held at once, in float32: 128 MB."""


def batches_of_text(texts: Iterable[str], vocabulary: Vocabulary, context: int, documents: int) -> list[Tensor]:
    """Batches of tokens [B, T] of up to so many documents, those of like length together."""
    encoded = sorted(islice(encode_documents(texts, vocabulary, context), documents), key=len)
    return [_cut_alike(batch) for batch in _of_like_length([ids for ids in encoded if len(ids) >= _SHORTEST])]


def batches_of_samples(parts: Iterable[Tensor]) -> list[Tensor]:
    """Batches of tokens [B, T] of texts of one length, however many of them stand together."""
    return [batch for part in parts for batch in torch.split(part, BATCH)]


def spread_over(batches: Sequence[Tensor], count: int) -> list[Tensor]:
    """So many of the batches at most, from all over: they are sorted by length."""
    count = min(count, len(batches))
    return [batches[index * len(batches) // count] for index in range(count)]


def sequences_at_once(length: int, vocabulary: int) -> int:
    """How many sequences may have the logits of all their positions in memory together; one at least."""
    return max(1, _MOST_LOGITS // (length * vocabulary))


def _of_like_length(encoded: Sequence[list[int]]) -> Iterator[Sequence[list[int]]]:
    """Batches of documents that are sorted by length."""
    first = 0
    while first < len(encoded):
        longest = _ALIKE * len(encoded[first])
        batch = [ids for ids in encoded[first : first + BATCH] if len(ids) <= longest]
        yield batch
        first += len(batch)


def _cut_alike(batch: Sequence[list[int]]) -> Tensor:
    """[B, T] of sorted documents, as long as the first."""
    return torch.tensor([ids[: len(batch[0])] for ids in batch])
