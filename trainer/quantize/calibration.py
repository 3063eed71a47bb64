"""Texts to calibrate on: the user's, or what the model writes itself when there are none."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import torch
from torch import Tensor

from llgen.codegen.vocabulary import Vocabulary

from ..evaluate import encode_documents
from .folded import FoldedLlama, Matrices

_BATCH = 16


def batches_of_text(texts: Iterable[str], vocabulary: Vocabulary, context: int, documents: int) -> list[Tensor]:
    """Batches of tokens [B, T] of up to so many documents, those of like length together."""
    encoded = sorted(islice(encode_documents(texts, vocabulary, context), documents), key=len)
    return list(_cut_alike(encoded))


def batches_of_samples(
    model: FoldedLlama, matrices: Matrices, start: int, documents: int, length: int, seed: int = 1
) -> list[Tensor]:
    """Batches of what the model writes behind the start token, at temperature 1, up to `length` tokens each.

    What is rare in the model's own texts is rare where it will be used, too (data-free quantisation: Liu et al., 2023,
    arXiv:2305.17888).
    """
    generator = torch.Generator().manual_seed(seed)
    batches = []
    for first in range(0, documents, _BATCH):
        tokens = torch.full((min(_BATCH, documents - first), 1), start)
        with torch.inference_mode():
            for _ in range(length):
                odds = model(tokens, matrices)[:, -1].softmax(-1)
                tokens = torch.cat([tokens, torch.multinomial(odds, 1, generator=generator)], dim=1)
        batches.append(tokens.clone())
    return batches


def _cut_alike(encoded: Sequence[Sequence[int]]) -> Iterator[Tensor]:
    for first in range(0, len(encoded), _BATCH):
        batch = encoded[first : first + _BATCH]
        shortest = len(batch[0])
        if shortest > 2:
            yield torch.tensor([list(ids[:shortest]) for ids in batch])
