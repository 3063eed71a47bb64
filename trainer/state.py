"""What a run has learned, as dictionaries of whole tensors: the weights, and the state of the optimisers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)

from .optimizer import Optimizers

_WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)
"""State dictionaries hold whole tensors, on the CPU; divided weights are gathered by the leader."""


def weights(model: nn.Module) -> dict[str, Any]:
    """A copy of the weights by name, on the CPU; every process of a group must call it."""
    whole: dict[str, Any] = get_model_state_dict(model, options=_WHOLE)
    return {name: tensor.detach().clone() for name, tensor in whole.items()}


def set_weights(model: nn.Module, state: Mapping[str, Any]) -> None:
    """Load weights that `weights` returned; raises RuntimeError when they belong to another model."""
    set_model_state_dict(model, dict(state), options=_WHOLE)


def optimizer_state(model: nn.Module, optimizers: Optimizers) -> dict[str, Any]:
    """The state of the optimisers by parameter name, on the CPU; every process of a group must call it."""
    return get_optimizer_state_dict(model, optimizers.parts, options=_WHOLE)


def set_optimizer_state(model: nn.Module, optimizers: Optimizers, state: Mapping[str, Any]) -> None:
    """Load what `optimizer_state` returned.

    Raises KeyError, ValueError or RuntimeError when it belongs to other optimisers.
    """
    set_optimizer_state_dict(model, optimizers.parts, dict(state), options=_WHOLE)
