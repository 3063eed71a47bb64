"""Texts to calibrate on and to learn from: the user's, or what the model writes itself when there are none."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

import torch
from torch import Tensor

from llgen.codegen.vocabulary import Vocabulary

from ..evaluate import encode_documents
from ..model import Cache, Llama

_BATCH = 16
_SHORTEST = 3
"""Tokens of a document that has something to predict, behind what it begins with and what that already says."""
_ALIKE = 1.5
"""How much longer than the shortest of its batch a document may be: what is longer is cut off."""
_SAMPLED_AT_ONCE = 128


def batches_of_text(texts: Iterable[str], vocabulary: Vocabulary, context: int, documents: int) -> list[Tensor]:
    """Batches of tokens [B, T] of up to so many documents, those of like length together."""
    encoded = sorted(islice(encode_documents(texts, vocabulary, context), documents), key=len)
    return [_cut_alike(batch) for batch in _of_like_length([ids for ids in encoded if len(ids) >= _SHORTEST])]


def batches_of_samples(
    model: Llama,
    start: int,
    documents: int,
    length: int,
    seed: int = 1,
    told: Callable[[int], None] = lambda documents: None,
) -> list[Tensor]:
    """Batches of what the model writes behind the start token, at temperature 1, up to `length` tokens each.

    What is rare in the model's own texts is rare where it will be used, too (data-free quantisation: Liu et al., 2023,
    arXiv:2305.17888).
    """
    generator = torch.Generator().manual_seed(seed)
    batches: list[Tensor] = []
    for first in range(0, documents, _SAMPLED_AT_ONCE):
        count = min(_SAMPLED_AT_ONCE, documents - first)
        batches += torch.split(_written(model, start, count, length, generator), _BATCH)
        told(first + count)
    return batches


def spread_over(batches: Sequence[Tensor], count: int) -> list[Tensor]:
    """So many of the batches at most, from all over: they are sorted by length."""
    count = min(count, len(batches))
    return [batches[index * len(batches) // count] for index in range(count)]


@torch.no_grad()  # not inference_mode: what it writes is trained on
def _written(model: Llama, start: int, count: int, length: int, generator: torch.Generator) -> Tensor:
    """[count, 1 + length]"""
    cache = Cache.empty(model.config, count)
    tokens = [torch.full((count, 1), start)]
    for _ in range(length):
        odds = model(tokens[-1], cache)[:, -1].softmax(-1)
        tokens.append(torch.multinomial(odds, 1, generator=generator))
    return torch.cat(tokens, dim=1)


def _of_like_length(encoded: Sequence[list[int]]) -> Iterator[Sequence[list[int]]]:
    """Batches of documents that are sorted by length."""
    first = 0
    while first < len(encoded):
        longest = _ALIKE * len(encoded[first])
        batch = [ids for ids in encoded[first : first + _BATCH] if len(ids) <= longest]
        yield batch
        first += len(batch)


def _cut_alike(batch: Sequence[list[int]]) -> Tensor:
    """[B, T] of sorted documents, as long as the first."""
    return torch.tensor([ids[: len(batch[0])] for ids in batch])
