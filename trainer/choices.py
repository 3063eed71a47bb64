"""Settings that a new run chooses by itself and keeps, because the last digits of its losses depend on them."""

from __future__ import annotations

import torch

from llgen.errors import LlgenError
from llgen.notices import notice

from .config import TrainConfig
from .device import choose_dtype, cores, is_narrow
from .library import library
from .processes import Processes


def with_choices(asked: TrainConfig, processes: Processes) -> TrainConfig:
    """The configuration with `replicas` and `fused` decided.

    Raises LlgenError when `hardware.fused` is true and the operators cannot be compiled.
    """
    hardware = asked.hardware
    replicas = hardware.replicas or usual_replicas(asked, processes)
    fused = hardware.fused if hardware.fused is not None else _fuses(asked, processes)
    if hardware.fused:
        _compile(asked)
    return _with(asked, replicas, fused)


def with_choices_of(begun: TrainConfig, asked: TrainConfig) -> TrainConfig:
    """The configuration `asked`; where it leaves `replicas` or `fused` open, the choice of the run's start."""
    hardware, kept = asked.hardware, begun.hardware
    return _with(asked, hardware.replicas or kept.replicas, kept.fused if hardware.fused is None else hardware.fused)


def _with(config: TrainConfig, replicas: int | None, fused: bool | None) -> TrainConfig:
    chosen = config.hardware.model_copy(update={"replicas": replicas, "fused": fused})
    return config.model_copy(update={"hardware": chosen})


def usual_replicas(config: TrainConfig, processes: Processes) -> int:
    """Number of processes that divide a batch: several for a narrow model on a CPU, else 1. Dropout allows only 1."""
    alone = processes.world == 1 and processes.device.type == "cpu"
    suits = alone and is_narrow(config.model.dim) and not config.batch.dropout and not config.hardware.compile
    return min(cores(), config.batch.sequences) if suits else 1


def _fuses(config: TrainConfig, processes: Processes) -> bool:
    """Whether llgen's own operators fit the settings and can be compiled here."""
    hardware, device = config.hardware, processes.device
    if device.type != "cpu" or hardware.compile or choose_dtype(hardware, device) != torch.float32:
        return False
    try:
        _compile(config)
    except (LlgenError, OSError) as error:
        if processes.leads:
            notice(f"training with PyTorch's operators only, which is slower: {str(error).partition(chr(10))[0]}")
        return False
    return True


def _compile(config: TrainConfig) -> None:
    library(config.model.resolved().head_dim)
    library()
