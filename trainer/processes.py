"""The processes of one run as `torchrun` starts them, and how they agree. One process alone is the common case."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta

import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import Store
from torch.distributed.rendezvous import rendezvous

from llgen.codegen.errors import LlgenError

_PATIENCE = timedelta(days=7)
"""How long the others wait while the leader tokenises; those that train together give each other up much sooner."""
_PREPARED, _DONE, _FAILED = "llgen/prepared", "done", "failed"
"""A key of the store, and what it may say."""


@dataclass(frozen=True)
class Processes:
    """Which of how many this process is; the leader alone writes files and speaks."""

    rank: int = 0
    world: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    store: Store | None = None
    """What all processes can read and write, for what takes too long to wait for in a collective operation."""

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def mean(self, value: float) -> float:
        """The mean of every process's value, the same on all."""
        if self.world == 1:
            return value
        total = torch.tensor(value, dtype=torch.float64, device=self.device)
        dist.all_reduce(total)
        return float(total) / self.world

    def agreed(self, value: float) -> float:
        """The leader's value: clocks and key presses differ, decisions must not."""
        if self.world == 1:
            return value
        shared = torch.tensor(value, dtype=torch.float64, device=self.device)
        dist.broadcast(shared, src=0)
        return float(shared)

    def leader_does(self, work: Callable[[], None]) -> None:
        """Let the leader do something, once and however long it takes, while the others wait; if it fails, all fail.

        Raises what `work` raises; in the other processes LlgenError.
        """
        if self.world == 1:
            work()
            return
        assert self.store is not None
        if self.leads:
            outcome = _FAILED
            try:
                work()
                outcome = _DONE
            finally:
                self.store.set(_PREPARED, outcome)
        else:
            self.store.wait([_PREPARED], _PATIENCE)
            if self.store.get(_PREPARED).decode() == _FAILED:
                raise LlgenError("the first process failed, which prepares the data for all", "see what it says")


@contextmanager
def joined(device: torch.device) -> Iterator[Processes]:
    """The group that torchrun's variables describe, left at the end; without them, this process alone."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield Processes(device=device)
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    store, rank, world = next(rendezvous("env://"))
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", store=store, rank=rank, world_size=world)
    try:
        yield Processes(rank, world, device, store)
    finally:
        dist.destroy_process_group()


def leads() -> bool:
    """Whether this process, also before and after it joins others, is the one that writes and speaks."""
    return int(os.environ.get("RANK", "0")) == 0
