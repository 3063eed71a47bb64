"""The model as the device computes it, in PyTorch: folded matrices, and numbers rounded where the C rounds them.

The NumPy reference is the specification, and computes one position after another. This model computes whole batches,
with gradients: the gradient passes through a rounding unchanged (the straight-through estimator: Bengio, Léonard and
Courville, 2013, arXiv:1308.3432).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from copy import copy
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from llgen.codegen.contract import numerics
from llgen.codegen.model.architectures import graph_of
from llgen.codegen.model.architectures.graph import Attention, Embed, Norm, Operation, Product, SwiGLU
from llgen.codegen.model.config import ModelConfig
from llgen.codegen.quantise.fold import FoldedModel
from llgen.codegen.quantise.quantize import QuantModel

from ..model import rope_tables
from ..operators import Operators, rotate

Matrices = Mapping[str, Tensor]
"""Matrices [rows, columns] by the names of `QuantModel.matrices`."""
Observer = Callable[[str, Tensor, Tensor], None]
"""Called with the name of a matrix, the vectors [B, T, columns] that it multiplies, and the outputs [B, T, rows]."""


class FoldedLlama:
    """A forward pass over folded matrices, by the model's graph; the caller passes the matrices and may train them."""

    def __init__(
        self,
        config: ModelConfig,
        final_gain: Tensor | None,
        gain_block: int,
        *,
        whole: bool,
        whole_cache: bool,
        context: int | None = None,
    ) -> None:
        """`final_gain` and `gain_block` as in QuantModel.

        `whole` rounds the vectors before each product to 8 bits; `whole_cache` rounds queries, keys and values.
        """
        self.config, self.final_gain = config, final_gain
        self.whole, self.whole_cache = whole, whole_cache
        self.context = context or config.max_seq_len
        self.operators = Operators()
        self._cos, self._sin = rope_tables(config)
        self._no_gain = torch.ones(config.dim)
        self._mixing = hadamard_matrix(gain_block)

    @classmethod
    def of(cls, model: QuantModel) -> tuple[FoldedLlama, dict[str, Tensor]]:
        """The forward pass of a quantised model, and the numbers that its integers stand for."""
        gain = None if model.final_gain is None else torch.from_numpy(model.final_gain.copy())
        cache, context = model.kv == "q8", model.context
        twin = cls(model.config, gain, model.gain_block, whole=model.is_integer, whole_cache=cache, context=context)
        return twin, {name: torch.from_numpy(matrix.dequantized().copy()) for name, matrix in model.matrices.items()}

    @classmethod
    def exact(cls, folded: FoldedModel) -> tuple[FoldedLlama, dict[str, Tensor]]:
        """The forward pass of the folded float32 model, and its matrices."""
        gain = None if folded.final_gain is None else torch.from_numpy(folded.final_gain.copy())
        spec = folded.spec
        twin = cls(spec.config, gain, folded.gain_block, whole=False, whole_cache=False, context=spec.context)
        return twin, {name: torch.from_numpy(values.copy()) for name, values in folded.matrices.items()}

    def with_whole_vectors(self) -> FoldedLlama:
        """The same forward pass, with vectors rounded before each product."""
        twin = copy(self)
        twin.whole = True
        return twin

    def __call__(self, tokens: Tensor, matrices: Matrices, observe: Observer | None = None) -> Tensor:
        """Logits [B, T, V] of tokens [B, T]."""
        vectors, name = self.before_logits(tokens, matrices, observe)
        return _multiplied(name, vectors, matrices, observe)

    def before_logits(self, tokens: Tensor, matrices: Matrices, observe: Observer | None = None) -> tuple[Tensor, str]:
        """The vectors [B, T, dim] that the classifier multiplies, and the name of the classifier's matrix."""
        graph = graph_of(self.config)
        classify, vectors = graph.products[-1], dict[str, Tensor]()
        for operation, layer in graph.walk():
            if operation is classify:
                break
            vectors[operation.output.name] = self._run(operation, layer, tokens, vectors, matrices, observe)
        return self._as_multiplied(vectors[classify.input.name]), classify.matrix.name

    def _run(
        self,
        operation: Operation,
        layer: int,
        tokens: Tensor,
        vectors: Mapping[str, Tensor],
        matrices: Matrices,
        observe: Observer | None,
    ) -> Tensor:
        """The output [B, T, width] of an operation."""
        match operation:
            case Embed():
                return F.embedding(tokens, matrices[operation.matrix.name_in(layer)])
            case Norm():
                n = self._norm(vectors[operation.input.name])
                if operation.folded or self.final_gain is None:
                    return n
                return hadamard(hadamard(n, self._mixing) * self.final_gain, self._mixing)
            case Product():
                name = operation.matrix.name_in(layer)
                y = self._product(name, vectors[operation.input.name], matrices, observe)
                return vectors[operation.output.name] + y if operation.adds else y
            case Attention():
                return self._attend(operation, vectors[operation.input.name])
            case SwiGLU():
                sizes = [part.size for part in operation.input.parts]
                gate, up = torch.split(vectors[operation.input.name], sizes, dim=-1)
                return self.operators.swiglu(gate, up)
        raise NotImplementedError(f"the folded model in PyTorch has no {type(operation).__name__}")

    def _norm(self, x: Tensor) -> Tensor:
        return self.operators.rms_norm(x, self._no_gain, self.config.norm_eps)

    def _as_multiplied(self, x: Tensor) -> Tensor:
        return rounded(x) if self.whole else x

    def _product(self, name: str, x: Tensor, matrices: Matrices, observe: Observer | None) -> Tensor:
        return _multiplied(name, self._as_multiplied(x), matrices, observe)

    def _attend(self, operation: Attention, qkv: Tensor) -> Tensor:
        batch, time, _ = qkv.shape
        parts = torch.split(qkv, [part.size for part in operation.input.parts], dim=-1)
        q, k, v = (part.reshape(batch, time, -1, operation.head_dim) for part in parts)
        cos, sin = self._cos[:time], self._sin[:time]
        if self.whole_cache:  # rounding comes after the rotation
            q, k = rotate(q, cos[:, None], sin[:, None]), rotate(k, cos[:, None], sin[:, None])
            q, k, v = rounded(q), rounded(k), rounded(v)
            cos, sin = torch.ones_like(cos), torch.zeros_like(sin)
        q = q * math.sqrt(operation.head_dim)  # folded matrices already scale queries; `attention` does it again
        return self.operators.attention(q, k, v, cos, sin).reshape(batch, time, operation.output.size)


def _multiplied(name: str, x: Tensor, matrices: Matrices, observe: Observer | None) -> Tensor:
    y = F.linear(x, matrices[name])
    if observe is not None:
        observe(name, x, y)
    return y


def hadamard(x: Tensor, matrix: Tensor) -> Tensor:
    """As `numerics.hadamard`, within float error; a product with `hadamard_matrix` is faster than passes of sums."""
    block = len(matrix)
    return x if block == 1 else (x.reshape(-1, block) @ matrix).view(x.shape)


def hadamard_matrix(block: int) -> Tensor:
    """The Hadamard matrix [block, block] of 1 and -1."""
    return torch.from_numpy(numerics.hadamard(np.eye(block, dtype=np.float32), block))


class _Rounded(torch.autograd.Function):
    """Rounding in few passes over memory; with ordinary operations it took twice the time."""

    @staticmethod
    def forward(context: Any, x: Tensor, levels: int) -> Tensor:
        largest = torch.maximum(x.amax(dim=-1, keepdim=True), -x.amin(dim=-1, keepdim=True))
        inverse = torch.where(largest < float(numerics.SMALLEST_STEP), 0.0, levels / largest)
        return (x * inverse).round_().mul_(largest * (1.0 / levels))

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None


def rounded(x: Tensor, levels: int = 127) -> Tensor:
    """Round each vector of the last axis to steps of its maximum |x| / levels; the gradient passes unchanged.

    The result is what the integers of `numerics.quantize_vector` stand for.
    """
    result: Tensor = _Rounded.apply(x, levels)  # type: ignore[no-untyped-call]
    return result
