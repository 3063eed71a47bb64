"""Batches: random windows of a stream of tokens; the windows do not depend on the number of processes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .stream import TokenStream


class Batches:
    """An endless sequence of batches of random windows; `state` saves its position.

    Every process draws the starts of all windows of a batch, and reads only its own windows. So the batch does not
    depend on the number of processes, and `state` is the same in all processes.
    """

    def __init__(self, stream: TokenStream, seed: int, *, aligned: float = 0.0, rank: int = 0, world: int = 1) -> None:
        """Each window starts at the start of a document with probability `aligned`, else at a random token."""
        self._stream, self._aligned, self._rank, self._world = stream, aligned, rank, world
        self._generator = torch.Generator().manual_seed(seed)

    @property
    def state(self) -> Tensor:
        """The position in the sequence, as bytes; set it to continue from there."""
        return self._generator.get_state()

    @state.setter
    def state(self, state: Tensor) -> None:
        self._generator.set_state(state)

    def draw(self, batch_size: int, sequence_length: int) -> tuple[Tensor, Tensor]:
        """The next batch: inputs and targets, both [batch_size / processes, sequence_length].

        A target is the token after its input.
        """
        starts = self._starts(batch_size, sequence_length)[self._rank :: self._world]
        windows = torch.from_numpy(self._stream.window(starts, sequence_length + 1))
        return windows[:, :-1], windows[:, 1:]

    def _starts(self, count: int, length: int) -> npt.NDArray[np.int64]:
        last = len(self._stream) - 1 - length
        anywhere: npt.NDArray[np.int64] = torch.randint(last + 1, (count,), generator=self._generator).numpy()
        if not self._aligned:
            return anywhere
        documents = self._stream.starts
        # At least one, because the first document starts at 0. A Python int would convert the whole array.
        fitting = int(documents.searchsorted(np.uint64(last), side="right"))
        chosen = torch.randint(fitting, (count,), generator=self._generator).numpy()
        is_aligned = torch.rand(count, generator=self._generator).numpy() < self._aligned
        return np.where(is_aligned, documents[chosen].astype(np.int64), anywhere)
