"""Texts that a model writes itself, for calibration and distillation without a text; each part is saved once written.

A model's own texts have the distribution of its later use: what is rare in them is rare in use (data-free quantisation:
Liu et al., 2023, arXiv:2305.17888).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
    padding: Sequence[int] = (),
) -> list[Tensor]:
    """Write `count` texts of `length` tokens after the token `start`, at temperature 1; tensors [B, 1 + length].

    `padding` lists rows of the logits that are not tokens; they are never chosen. The directory `keep`, if given, gets
    each tensor; a tensor that it already holds, which must come from the same call, is read and not written again.
    `told` is called with the number of texts after each tensor that is written.
    Raises LlgenError when a kept tensor cannot be read.
    """
    parts = []
    for index, first in enumerate(range(0, count, _AT_ONCE)):
        together = min(_AT_ONCE, count - first)
        path = None if keep is None else keep / f"{index}.pt"
        if path is not None and path.exists():
            part: Tensor = read_checkpoint(path)["texts"].long()
        else:
            part = _written(model, start, together, length, torch.Generator().manual_seed(index), padding)
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                write_checkpoint({"texts": part.int()}, path)
            told(first + together)
        parts.append(part)
    return parts


@torch.no_grad()  # not inference_mode, because training uses the texts
def _written(
    model: Llama, start: int, count: int, length: int, generator: torch.Generator, padding: Sequence[int]
) -> Tensor:
    """Tokens of new texts, [count, 1 + length]."""
    cache = Cache.empty(model.config, count)
    tokens, never = [torch.full((count, 1), start)], torch.tensor(padding, dtype=torch.long)
    for _ in range(length):
        logits = model(tokens[-1], cache)[:, -1].index_fill(1, never, -torch.inf)
        tokens.append(_drawn(logits, generator))
    return torch.cat(tokens, dim=1)


def _drawn(logits: Tensor, generator: torch.Generator) -> Tensor:
    """Sample a token [B, 1] for each row of logits [B, V].

    `torch.multinomial` would draw a random number for each token of the vocabulary; this draws one for each row.
    """
    heights = logits.softmax(-1).cumsum(-1)
    place = torch.rand(len(logits), 1, generator=generator) * heights[:, -1:]
    return torch.searchsorted(heights, place, right=True).clamp_(max=logits.shape[-1] - 1)
