"""Texts that a model writes itself: endless, of just the kind it will be used for, and kept as they come.

What is rare in a model's own texts is rare where it will be used, too (data-free quantisation: Liu et al., 2023,
arXiv:2305.17888).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from ..checkpoint import read_checkpoint, write_checkpoint
from ..model import Cache, Llama

_AT_ONCE = 128


def written_texts(
    model: Llama,
    start: int,
    count: int,
    length: int,
    keep: Path | None = None,
    told: Callable[[int], None] = lambda texts: None,
) -> list[Tensor]:
    """So many texts behind the token `start`, at temperature 1: tensors [B, 1 + length], of many texts each.

    The directory `keep`, when given, holds what is written; what it holds already, which must be of the same call, is
    not written again. `told` hears how many there are, of those written now. Raises
    LlgenError when something kept cannot be read.
    """
    parts = []
    for index, first in enumerate(range(0, count, _AT_ONCE)):
        together = min(_AT_ONCE, count - first)
        path = None if keep is None else keep / f"{index}.pt"
        if path is not None and path.exists():
            part: Tensor = read_checkpoint(path)["texts"].long()
        else:
            part = _written(model, start, together, length, torch.Generator().manual_seed(index))
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                write_checkpoint({"texts": part.int()}, path)
            told(first + together)
        parts.append(part)
    return parts


@torch.no_grad()  # not inference_mode: what it writes is trained on
def _written(model: Llama, start: int, count: int, length: int, generator: torch.Generator) -> Tensor:
    """[count, 1 + length]"""
    cache = Cache.empty(model.config, count)
    tokens = [torch.full((count, 1), start)]
    for _ in range(length):
        tokens.append(_drawn(model(tokens[-1], cache)[:, -1], generator))
    return torch.cat(tokens, dim=1)


def _drawn(logits: Tensor, generator: torch.Generator) -> Tensor:
    """A token [B, 1] for each row of logits [B, V]; `multinomial` draws a number for each token of the vocabulary."""
    heights = logits.softmax(-1).cumsum(-1)
    place = torch.rand(len(logits), 1, generator=generator) * heights[:, -1:]
    return torch.searchsorted(heights, place, right=True).clamp_(max=logits.shape[-1] - 1)
