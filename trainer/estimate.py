"""An estimate of a run before it starts: parameters, tokens, memory."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from llgen.codegen.model.architectures import parameter_count

from .adapters import add_adapters
from .config import TrainConfig
from .model import Llama
from .operators import cross_entropy
from .optimizer import make_optimizers

_FLOAT = 4


@dataclass(frozen=True)
class Estimate:
    """Counts of parameters and tokens, and sizes in bytes for one process that computes the whole batch."""

    parameters: int
    trained: int
    """Number of parameters that are trained: all, or only those of the adapters."""
    tokens_per_iteration: int
    weights: int
    gradients: int
    optimizer: int
    """The optimiser's moments and the moving average of the weights."""
    activations: int
    """Intermediate results of the forward pass that the backward pass needs."""

    @property
    def memory(self) -> int:
        return self.weights + self.gradients + self.optimizer + self.activations


def estimate(config: TrainConfig) -> Estimate:
    """Compute the sizes of a run from tensors on the meta device, which have shapes but no memory."""
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
        parameters=parameter_count(shape),
        trained=trained,
        tokens_per_iteration=batch.sequences * shape.max_seq_len * batch.accumulation,
        weights=held * _FLOAT,
        gradients=trained * _FLOAT,
        optimizer=(moments + average) * _FLOAT,
        activations=_saved_bytes(model, batch.sequences, shape.max_seq_len),
    )


def _saved_bytes(model: Llama, batch: int, time: int) -> int:
    """Bytes that autograd keeps of a forward pass; views of one storage count once, weights do not count."""
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
