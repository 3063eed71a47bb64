"""What a new run decides by itself, and keeps: the last digits of its losses depend on it."""

from __future__ import annotations

import torch

from llgen.codegen.cli.options import say
from llgen.codegen.errors import LlgenError

from .config import TrainConfig
from .device import choose_dtype, cores, is_narrow
from .library import library
from .processes import Processes


def with_choices(asked: TrainConfig, processes: Processes) -> TrainConfig:
    """The configuration with everything decided; raises LlgenError when operators asked for cannot be compiled."""
    hardware = asked.hardware
    replicas = hardware.replicas or usual_replicas(asked, processes)
    fused = hardware.fused if hardware.fused is not None else _fuses(asked, processes)
    if hardware.fused:
        _compile(asked)
    return _with(asked, replicas, fused)


def with_choices_of(begun: TrainConfig, asked: TrainConfig) -> TrainConfig:
    """What is asked for, with the choices that a run was begun with where nothing is said of them."""
    hardware, kept = asked.hardware, begun.hardware
    return _with(asked, hardware.replicas or kept.replicas, kept.fused if hardware.fused is None else hardware.fused)


def _with(config: TrainConfig, replicas: int | None, fused: bool | None) -> TrainConfig:
    chosen = config.hardware.model_copy(update={"replicas": replicas, "fused": fused})
    return config.model_copy(update={"hardware": chosen})


def usual_replicas(config: TrainConfig, processes: Processes) -> int:
    """Processes for a narrow model on a CPU; the random choices of dropout allow only one."""
    alone = processes.world == 1 and processes.device.type == "cpu"
    suits = alone and is_narrow(config.model.dim) and not config.batch.dropout and not config.hardware.compile
    return min(cores(), config.batch.sequences) if suits else 1


def _fuses(config: TrainConfig, processes: Processes) -> bool:
    """Whether the operators of our own suit the work and can be compiled here."""
    hardware, device = config.hardware, processes.device
    if device.type != "cpu" or hardware.compile or choose_dtype(hardware, device) != torch.float32:
        return False
    try:
        _compile(config)
    except (LlgenError, OSError) as error:
        if processes.leads:
            say(f"training with PyTorch's operators alone, which takes longer: {str(error).partition(chr(10))[0]}")
        return False
    return True


def _compile(config: TrainConfig) -> None:
    library(config.model.resolved().head_dim)
    library()
