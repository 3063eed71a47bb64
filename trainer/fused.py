"""Operators for training on a CPU, each one pass in C: trainer/kernels, compiled for this machine.

PyTorch's CPU operators are made for wide models. At 64 dimensions, its attention over heads of 8 takes three fifths of
a training step, and each norm and activation is five operators with little work. Tests compare values and gradients
with PyTorch's.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from .library import library
from .operators import Operators

Result = TypeVar("Result")

_WORTH_A_THREAD = 1 << 16
"""Minimum of numbers per thread; a thread with less work would cost more than it saves."""


class FusedOperators(Operators):
    """Operators for float32 on a CPU; other tensors are computed by PyTorch's operators."""

    def rms_norm(self, x: Tensor, gain: Tensor, eps: float) -> Tensor:
        if not _ours(x, gain):
            return super().rms_norm(x, gain, eps)
        return _apply(_RMSNorm, x, gain, eps)

    def attention(self, q: Tensor, k: Tensor, v: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        if not _ours(q, k, v):
            return super().attention(q, k, v, cos, sin)
        return _apply(_Attention, q, k, v, cos, sin)

    def swiglu(self, gate: Tensor, up: Tensor) -> Tensor:
        if not _ours(gate, up):
            return super().swiglu(gate, up)
        return _apply(_SwiGLU, gate, up)

    def cross_entropy(self, logits: Tensor, targets: Tensor) -> Tensor:
        if not _ours(logits):
            return super().cross_entropy(logits, targets)
        return _apply(_CrossEntropy, logits.flatten(0, 1), targets.flatten())


def _ours(*tensors: Tensor) -> bool:
    plain = all(tensor.dtype == torch.float32 and tensor.device.type == "cpu" for tensor in tensors)
    return plain and not torch.compiler.is_compiling() and not torch.is_autocast_enabled("cpu")


def _apply(function: type[Function], *inputs: Any) -> Tensor:
    plain = (each.contiguous() if isinstance(each, Tensor) else each for each in inputs)
    result: Tensor = function.apply(*plain)  # type: ignore[no-untyped-call]
    return result


def _at(*tensors: Tensor) -> list[int]:
    return [tensor.data_ptr() for tensor in tensors]


def _divided(count: int, each: int, call: Callable[[int, int], Result]) -> list[Result]:
    """Divide 0 to `count` into ranges, one for each of PyTorch's threads, and return `call` of each, in order.

    `each` is the work of one item, in numbers.
    """
    parts = min(torch.get_num_threads(), count, 1 + count * each // _WORTH_A_THREAD)
    if parts == 1:
        return [call(0, count)]
    borders = [count * part // parts for part in range(parts + 1)]
    return list(_pool(parts).map(call, borders[:-1], borders[1:]))


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, "llgen-operator")


class _RMSNorm(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: Tensor, eps: float) -> Tensor:
        size, rows = x.shape[-1], x.numel() // x.shape[-1]
        out, inverse = torch.empty_like(x), x.new_empty(rows)
        call = library().rms_norm
        _divided(rows, size, lambda first, end: call(*_at(x, gain), eps, *_at(out, inverse), size, first, end))
        ctx.save_for_backward(x, gain, inverse)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, gain, inverse = ctx.saved_tensors
        gradient = gradient.contiguous()
        size, rows = x.shape[-1], x.numel() // x.shape[-1]
        x_gradient = torch.empty_like(x)
        call = library().rms_norm_backward

        def part(first: int, end: int) -> Tensor:
            own = torch.zeros_like(gain)
            call(*_at(x, gain, inverse, gradient, x_gradient, own), size, first, end)
            return own

        return x_gradient, torch.stack(_divided(rows, size, part)).sum(0), None


class _Attention(Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        batch, time, heads, head_dim = q.shape
        out, kept = torch.empty_like(q), q.new_empty(batch, heads, time, 2)
        ours = library(head_dim)
        scale, sizes = head_dim**-0.5, (time, heads, k.shape[2])

        def part(first: int, end: int) -> None:
            scratch = q.new_empty(ours.attention_scratch(time))
            ours.attention(*_at(q, k, v, cos, sin, out, kept, scratch), *sizes, scale, first, end)

        _divided(batch * k.shape[2], time * time * head_dim, part)
        ctx.save_for_backward(q, k, v, cos, sin, out, kept)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, cos, sin, out, kept = ctx.saved_tensors
        batch, time, heads, head_dim = q.shape
        gradients = tuple(torch.empty_like(each) for each in (q, k, v))
        gradient = gradient.contiguous()
        ours = library(head_dim)
        scale, sizes = head_dim**-0.5, (time, heads, k.shape[2])

        def part(first: int, end: int) -> None:
            scratch = q.new_empty(ours.attention_scratch(time))
            tensors = _at(q, k, v, cos, sin, out, kept, gradient, *gradients, scratch)
            ours.attention_backward(*tensors, *sizes, scale, first, end)

        _divided(batch * k.shape[2], time * time * head_dim, part)
        return *gradients, None, None


class _SwiGLU(Function):
    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        out = torch.empty_like(gate)
        call = library().swiglu
        _divided(out.numel(), 1, lambda first, end: call(*_at(gate, up, out), first, end))
        ctx.save_for_backward(gate, up)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        gate, up = ctx.saved_tensors
        gradient = gradient.contiguous()
        gradients = torch.empty_like(gate), torch.empty_like(up)
        call = library().swiglu_backward
        _divided(gate.numel(), 1, lambda first, end: call(*_at(gate, up, gradient, *gradients), first, end))
        return gradients


class _CrossEntropy(Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor) -> Tensor:
        rows, classes = logits.shape
        kept, odds = logits.new_empty(rows, 2), logits.new_empty(rows)
        call = library().cross_entropy
        _divided(rows, classes, lambda first, end: call(*_at(logits, targets, kept, odds), classes, first, end))
        ctx.save_for_backward(logits, targets, kept)
        return -(odds + kept[:, 1].log()).mean()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        logits, targets, kept = ctx.saved_tensors
        rows, classes = logits.shape
        out = torch.empty_like(logits)
        scale = float(gradient) / rows
        call = library().cross_entropy_backward
        _divided(
            rows, classes, lambda first, end: call(*_at(logits, targets, kept), scale, *_at(out), classes, first, end)
        )
        return out, None
