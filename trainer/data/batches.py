"""Batches: random windows of a stream of tokens, the same ones however many processes share them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .shards import TokenStream


class Batches:
    """An endless sequence of random windows, whose `state` continues it exactly.

    Every process draws where all windows of a batch start and reads its own part of them: so the batch does not depend
    on the number of processes, and `state` is the same in all of them.
    """

    def __init__(self, stream: TokenStream, seed: int, *, aligned: float = 0.0, rank: int = 0, world: int = 1) -> None:
        """`aligned` is the share of windows that start with a document."""
        self._stream, self._aligned, self._rank, self._world = stream, aligned, rank, world
        self._generator = torch.Generator().manual_seed(seed)

    @property
    def state(self) -> Tensor:
        """What the sequence goes on from, as bytes."""
        return self._generator.get_state()

    @state.setter
    def state(self, state: Tensor) -> None:
        self._generator.set_state(state)

    def draw(self, batch_size: int, sequence_length: int) -> tuple[Tensor, Tensor]:
        """Inputs and targets, both [batch / processes, time]; a target is the token that follows its input."""
        starts = self._starts(batch_size, sequence_length)[self._rank :: self._world]
        windows = torch.from_numpy(self._stream.window(starts, sequence_length + 1))
        return windows[:, :-1], windows[:, 1:]

    def _starts(self, count: int, length: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        last = len(self._stream) - 1 - length
        starts = torch.randint(last + 1, (count,), generator=self._generator).numpy()
        at_documents = int(count * self._aligned)
        if at_documents:
            documents = self._stream.starts
            fitting = int(np.searchsorted(documents, last, side="right"))
            chosen = torch.randint(max(fitting, 1), (at_documents,), generator=self._generator).numpy()
            starts[:at_documents] = np.minimum(documents[chosen].astype(np.int64), last)
        return starts
