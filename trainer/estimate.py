"""What a run will take, told before it begins: parameters, tokens, memory."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .adapters import add_adapters
from .config import TrainConfig
from .model import Llama
from .operators import cross_entropy
from .optimizer import make_optimizers

_FLOAT = 4


@dataclass(frozen=True)
class Estimate:
    """Sizes in bytes, for one process that does the whole batch."""

    parameters: int
    trained: int
    """Parameters that are trained: all, or those of adapters."""
    tokens_per_iteration: int
    weights: int
    gradients: int
    optimizer: int
    """Its moments, and the moving average of the weights."""
    activations: int
    """What the backward pass needs of a batch's forward pass."""

    @property
    def memory(self) -> int:
        return self.weights + self.gradients + self.optimizer + self.activations


def estimate(config: TrainConfig) -> Estimate:
    """Measure a run on tensors that have shapes but no memory."""
    shape = config.model.resolved()
    with torch.device("meta"):
        model = Llama(shape, config.batch.dropout)
        if config.start.lora:
            add_adapters(model, config.start.lora)
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    held = sum(parameter.numel() for parameter in model.parameters())
    moments = sum(
        parameter.numel() * (1 if type(part).__name__ == "Muon" else 2)
        for part in make_optimizers(model, config).parts
        for group in part.param_groups
        for parameter in group["params"]
    )
    average = trained if config.optimizer.ema else 0
    batch = config.batch
    return Estimate(
        parameters=shape.parameter_count,
        trained=trained,
        tokens_per_iteration=batch.sequences * shape.max_seq_len * batch.accumulation,
        weights=held * _FLOAT,
        gradients=trained * _FLOAT,
        optimizer=(moments + average) * _FLOAT,
        activations=_saved_bytes(model, batch.sequences, shape.max_seq_len),
    )


def _saved_bytes(model: Llama, batch: int, time: int) -> int:
    """Bytes that autograd keeps of a forward pass; views of one storage count once, weights not at all."""
    own = {parameter.untyped_storage()._cdata for parameter in model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = storage.nbytes()
        return tensor

    tokens = torch.zeros(batch, time, dtype=torch.long, device="meta")
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        cross_entropy(model(tokens), tokens)
    return sum(kept.values())
