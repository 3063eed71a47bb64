"""The files a run is continued from: written whole or not at all, read without running code they may hold."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)

from llgen.codegen.errors import LlgenError

from .files import replacing
from .optimizer import Optimizers

FORMAT = 2
_WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)
"""Divided weights come together on the leader's CPU."""


def weights(model: nn.Module) -> dict[str, Any]:
    """A copy of the weights by name, on the CPU; every process of a group must call it."""
    whole: dict[str, Any] = get_model_state_dict(model, options=_WHOLE)
    return {name: tensor.detach().clone() for name, tensor in whole.items()}


def set_weights(model: nn.Module, state: Mapping[str, Any]) -> None:
    """Raises RuntimeError when they are of another model."""
    set_model_state_dict(model, dict(state), options=_WHOLE)


def optimizer_state(model: nn.Module, optimizers: Optimizers) -> dict[str, Any]:
    """The optimisers' state by parameters' names, on the CPU; every process of a group must call it."""
    return get_optimizer_state_dict(model, optimizers.parts, options=_WHOLE)


def set_optimizer_state(model: nn.Module, optimizers: Optimizers, state: Mapping[str, Any]) -> None:
    """Raises KeyError, ValueError or RuntimeError when it is of other optimisers."""
    set_optimizer_state_dict(model, optimizers.parts, dict(state), options=_WHOLE)


def write_checkpoint(state: Mapping[str, Any], path: Path) -> None:
    """Write a checkpoint: afterwards the file is the old one or the new one, never half of either."""
    with replacing(path, durable=True) as temporary:
        torch.save({"format": FORMAT, **state}, temporary)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """What `write_checkpoint` wrote.

    Raises LlgenError when it is missing, damaged, of another version, or asks to run code.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise LlgenError(f"'{path.parent}' has no {path.name}", "is this a training run?") from error
    except Exception as error:  # torch.load raises whatever the bytes lead it to, and advises to trust them
        raise LlgenError(
            f"'{path}' is not a readable checkpoint: it is damaged, or holds more than tensors and plain values",
            "start a new run",
        ) from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise LlgenError(f"'{path}' is not a checkpoint of this version of llgen", "start a new run")
    return state
