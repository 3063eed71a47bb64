"""Batches of texts for calibration and distillation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import torch
from torch import Tensor

from llgen.codegen.model.vocabulary import Vocabulary

from ..evaluate import encode_documents

BATCH = 16
"""Maximum number of texts in a batch."""
_SHORTEST = 3
"""Minimum tokens of a document: the first, one that is predicted from the first only, and one more."""
_ALIKE = 1.5
"""Maximum length of a document, as a multiple of the shortest of its batch; it is cut to the shortest length."""
_MOST_LOGITS = 1 << 25
"""Maximum number of logits in memory together; 128 MB in float32."""


def batches_of_text(
    texts: Iterable[str], vocabulary: Vocabulary, lead: Sequence[int], context: int, documents: int
) -> list[Tensor]:
    """Batches of tokens [B, T] of up to `documents` documents, sorted by length, with `lead` before each."""
    encoded = sorted(islice(encode_documents(texts, vocabulary, lead, context), documents), key=len)
    return [_cut_alike(batch) for batch in _of_like_length([ids for ids in encoded if len(ids) >= _SHORTEST])]


def batches_of_samples(parts: Iterable[Tensor]) -> list[Tensor]:
    """Divide tensors of tokens [N, T] into batches [B, T] of at most BATCH texts."""
    return [batch for part in parts for batch in torch.split(part, BATCH)]


def spread_over(batches: Sequence[Tensor], count: int) -> list[Tensor]:
    """At most `count` of the batches, evenly spaced, so that all lengths occur: batches are sorted by length."""
    count = min(count, len(batches))
    return [batches[index * len(batches) // count] for index in range(count)]


def sequences_at_once(length: int, vocabulary: int) -> int:
    """How many sequences of `length` positions may have all their logits in memory together; at least one."""
    return max(1, _MOST_LOGITS // (length * vocabulary))


def _of_like_length(encoded: Sequence[list[int]]) -> Iterator[Sequence[list[int]]]:
    """Divide documents, sorted by length, into batches of similar length."""
    first = 0
    while first < len(encoded):
        longest = _ALIKE * len(encoded[first])
        batch = [ids for ids in encoded[first : first + BATCH] if len(ids) <= longest]
        yield batch
        first += len(batch)


def _cut_alike(batch: Sequence[list[int]]) -> Tensor:
    """Tokens [B, T] of a batch sorted by length; all are cut to the length of the first."""
    return torch.tensor([ids[: len(batch[0])] for ids in batch])
