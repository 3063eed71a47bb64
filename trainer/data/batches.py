"""Batches: random windows of a stream of tokens, the same ones however many processes share them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .stream import TokenStream


class Batches:
    """An endless sequence of random windows, whose `state` continues it exactly.

    Every process draws where all windows of a batch start and reads its own part of them: so the batch does not depend
    on the number of processes, and `state` is the same in all of them.
    """

    def __init__(self, stream: TokenStream, seed: int, *, aligned: float = 0.0, rank: int = 0, world: int = 1) -> None:
        """Each window starts with a document with probability `aligned`, and anywhere otherwise."""
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

    def _starts(self, count: int, length: int) -> npt.NDArray[np.int64]:
        last = len(self._stream) - 1 - length
        anywhere: npt.NDArray[np.int64] = torch.randint(last + 1, (count,), generator=self._generator).numpy()
        if not self._aligned:
            return anywhere
        documents = self._stream.starts
        # One at least, for the first document starts at 0. A Python int would have the whole array converted.
        fitting = int(documents.searchsorted(np.uint64(last), side="right"))
        chosen = torch.randint(fitting, (count,), generator=self._generator).numpy()
        is_aligned = torch.rand(count, generator=self._generator).numpy() < self._aligned
        return np.where(is_aligned, documents[chosen].astype(np.int64), anywhere)
