"""The model as the device computes it, in PyTorch: folded matrices, and numbers rounded where the C rounds them.

The NumPy reference is the specification, and goes position by position; this twin goes over whole batches, and has
gradients: a rounded number passes its gradient on as if it had not been rounded (the straight-through estimator:
Bengio, Léonard and Courville, 2013, arXiv:1308.3432).
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

from llgen.codegen import numerics
from llgen.codegen.config import ModelConfig
from llgen.codegen.fold import FoldedModel
from llgen.codegen.quantize import QuantModel

from ..model import rope_tables
from ..operators import Operators, rotate

Matrices = Mapping[str, Tensor]
"""By the names of `QuantModel.matrices`, [rows, columns] each."""
Observer = Callable[[str, Tensor, Tensor], None]
"""Called with a matrix's name, the vectors [B, T, columns] it was multiplied with, and the outputs [B, T, rows]."""


class FoldedLlama:
    """A forward pass over folded matrices, which the caller may exchange or train."""

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

        `whole` rounds the vectors before each product to 8 bits, `whole_cache` queries, keys and values too.
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
        """The twin of a quantised model, and the numbers that its integers stand for."""
        gain = None if model.final_gain is None else torch.from_numpy(model.final_gain.copy())
        cache, context = model.kv == "q8", model.context
        twin = cls(model.config, gain, model.gain_block, whole=model.is_integer, whole_cache=cache, context=context)
        return twin, {name: torch.from_numpy(matrix.dequantized().copy()) for name, matrix in model.matrices().items()}

    @classmethod
    def exact(cls, folded: FoldedModel) -> tuple[FoldedLlama, dict[str, Tensor]]:
        """The float32 model, folded."""
        gain = None if folded.final_gain is None else torch.from_numpy(folded.final_gain.copy())
        spec = folded.spec
        twin = cls(spec.config, gain, folded.gain_block, whole=False, whole_cache=False, context=spec.context)
        return twin, {name: torch.from_numpy(values.copy()) for name, values in folded.matrices.items()}

    def with_whole_vectors(self) -> FoldedLlama:
        """The same, but that vectors are rounded before each product."""
        twin = copy(self)
        twin.whole = True
        return twin

    def __call__(self, tokens: Tensor, matrices: Matrices, observe: Observer | None = None) -> Tensor:
        """Logits [B, T, V] of tokens [B, T]."""
        vectors, name = self.before_logits(tokens, matrices, observe)
        return _multiplied(name, vectors, matrices, observe)

    def before_logits(self, tokens: Tensor, matrices: Matrices, observe: Observer | None = None) -> tuple[Tensor, str]:
        """The vectors [B, T, dim] that the classifier is multiplied with, and its name."""
        config = self.config
        x = F.embedding(tokens, matrices["embedding"])
        for layer in range(config.n_layers):
            qkv = self._product(f"wqkv.{layer}", self._norm(x), matrices, observe)
            x = x + self._product(f"wo.{layer}", self._attend(qkv), matrices, observe)
            gate, up = self._product(f"w13.{layer}", self._norm(x), matrices, observe).chunk(2, dim=-1)
            x = x + self._product(f"w2.{layer}", self.operators.swiglu(gate, up), matrices, observe)
        n = self._norm(x)
        if self.final_gain is not None:
            n = hadamard(hadamard(n, self._mixing) * self.final_gain, self._mixing)
        return self._as_multiplied(n), "classifier" if "classifier" in matrices else "embedding"

    def _norm(self, x: Tensor) -> Tensor:
        return self.operators.rms_norm(x, self._no_gain, self.config.norm_eps)

    def _as_multiplied(self, x: Tensor) -> Tensor:
        return rounded(x) if self.whole else x

    def _product(self, name: str, x: Tensor, matrices: Matrices, observe: Observer | None) -> Tensor:
        return _multiplied(name, self._as_multiplied(x), matrices, observe)

    def _attend(self, qkv: Tensor) -> Tensor:
        config = self.config
        batch, time, _ = qkv.shape
        parts = torch.split(qkv, [config.q_dim, config.kv_dim, config.kv_dim], dim=-1)
        q, k, v = (part.reshape(batch, time, -1, config.head_dim) for part in parts)
        cos, sin = self._cos[:time], self._sin[:time]
        if self.whole_cache:  # what is rounded is what has been turned
            q, k = rotate(q, cos[:, None], sin[:, None]), rotate(k, cos[:, None], sin[:, None])
            q, k, v = rounded(q), rounded(k), rounded(v)
            cos, sin = torch.ones_like(cos), torch.zeros_like(sin)
        q = q * math.sqrt(config.head_dim)  # queries are scaled already
        return self.operators.attention(q, k, v, cos, sin).reshape(batch, time, config.q_dim)


def _multiplied(name: str, x: Tensor, matrices: Matrices, observe: Observer | None) -> Tensor:
    y = F.linear(x, matrices[name])
    if observe is not None:
        observe(name, x, y)
    return y


def hadamard(x: Tensor, matrix: Tensor) -> Tensor:
    """As `numerics.hadamard`, within float error: a product with `hadamard_matrix` is quicker than passes of sums."""
    block = len(matrix)
    return x if block == 1 else (x.reshape(-1, block) @ matrix).view(x.shape)


def hadamard_matrix(block: int) -> Tensor:
    """[block, block], of 1 and -1."""
    return torch.from_numpy(numerics.hadamard(np.eye(block, dtype=np.float32), block))


class _Rounded(torch.autograd.Function):
    """In as few passes over memory as there can be; written with ordinary operations it took twice the time."""

    @staticmethod
    def forward(context: Any, x: Tensor, levels: int) -> Tensor:
        largest = torch.maximum(x.amax(dim=-1, keepdim=True), -x.amin(dim=-1, keepdim=True))
        inverse = torch.where(largest < float(numerics.SMALLEST_STEP), 0.0, levels / largest)
        return (x * inverse).round_().mul_(largest * (1.0 / levels))

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None


def rounded(x: Tensor, levels: int = 127) -> Tensor:
    """Each vector along the last axis in steps of its largest |x| / levels; the gradient passes as if it were not.

    The same as `numerics.quantize_vector` does, and what its integers stand for.
    """
    result: Tensor = _Rounded.apply(x, levels)  # type: ignore[no-untyped-call]
    return result
