"""The processes of one run, as `torchrun` starts them, and how they agree. Most runs have one process."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count

import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import Store
from torch.distributed.rendezvous import rendezvous

from llgen.errors import LlgenError

_PATIENCE = timedelta(days=7)
"""How long the other processes wait while the leader tokenises; collective operations wait much less."""
_PREPARED, _DONE, _FAILED = "llgen/prepared", "done", "failed"
"""The prefix of keys in the store, and the two values."""


@dataclass(frozen=True)
class Processes:
    """The number of processes and the rank of this one; only the leader, rank 0, writes files and prints messages."""

    rank: int = 0
    world: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    store: Store | None = None
    """Keys and values that all processes share, for waits that are too long for a collective operation."""
    works: Iterator[int] = field(default_factory=count)
    """Numbers the calls of `leader_does`; all processes count the same calls."""

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def mean(self, value: float) -> float:
        """The mean of `value` over all processes; every process gets the same."""
        if self.world == 1:
            return value
        total = torch.tensor(value, dtype=torch.float64, device=self.device)
        dist.all_reduce(total)
        return float(total) / self.world

    def agreed(self, value: float) -> float:
        """The leader's value, for every process: clocks and signals differ between processes, decisions must not."""
        if self.world == 1:
            return value
        shared = torch.tensor(value, dtype=torch.float64, device=self.device)
        dist.broadcast(shared, src=0)
        return float(shared)

    def leader_does(self, work: Callable[[], None]) -> None:
        """Let the leader do `work`, however long it takes, while the others wait; if it fails, all processes fail.

        Raises what `work` raises; in the other processes LlgenError.
        """
        if self.world == 1:
            work()
            return
        assert self.store is not None
        key = f"{_PREPARED}/{next(self.works)}"
        if self.leads:
            outcome = _FAILED
            try:
                work()
                outcome = _DONE
            finally:
                self.store.set(key, outcome)
        else:
            self.store.wait([key], _PATIENCE)
            if self.store.get(key).decode() == _FAILED:
                raise LlgenError("the first process failed to prepare the data for all processes", "read its message")


@contextmanager
def joined(device: torch.device) -> Iterator[Processes]:
    """Join the group that torchrun's variables describe, and leave it at the end; without them, this process alone."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield Processes(device=device)
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    store, rank, world = next(rendezvous("env://"))
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", store=store, rank=rank, world_size=world)
    try:
        dist.barrier()  # without it, a process that fails at once would break off others that still connect
        yield Processes(rank, world, device, store)
    finally:
        # Models that are divided among processes use the group, and must be freed before it. Otherwise the model that
        # holds the last reference to the group waits for the group's threads while it holds Python's lock, and such a
        # thread may need this lock before it can end.
        gc.collect()
        dist.destroy_process_group()


def leads() -> bool:
    """Whether this process is the leader; also known before and after `joined`."""
    return int(os.environ.get("RANK", "0")) == 0
