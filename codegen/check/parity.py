"""Parity: whether the compiled C computes what Python computes, and otherwise the first difference."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from llgen.errors import LlgenError
from llgen.targets.schema import Target

from ..compile.toolchain import compile_objects, link
from ..contract.numerics import Array
from ..plan.extras import PLAIN, Extras
from ..plan.tuning import Values
from ..quantise.padding import likeliest
from ..quantise.quantize import QuantModel
from ..reference.forward import Trace, begin
from ..render.pipeline import generate
from ..run.runner import run_program


@dataclass(frozen=True)
class Divergence:
    """The first intermediate value whose bits differ."""

    position: int
    layer: int
    """Index of the layer; -1 outside of the layers."""
    tensor: str
    element: int
    expected: float
    found: float

    def __str__(self) -> str:
        where = f"layer {self.layer}, " if self.layer >= 0 else ""
        return (
            f"position {self.position}, {where}{self.tensor}[{self.element}]: "
            f"{self.found!r} where Python has {self.expected!r}"
        )


@dataclass(frozen=True)
class Closeness:
    """The differences between the reference and PyTorch, over all positions."""

    max_difference: float
    """Largest |logit difference|, relative to the range of the row's logits."""
    kl: float
    """Largest Kullback-Leibler divergence of a position's distribution, in nats."""
    top1: float
    """Share of positions with the same likeliest token."""


def first_token_difference(expected: Trace, found: Trace) -> str | None:
    """The first position at which two runs chose different tokens, as text; None when there is none."""
    for position, (left, right) in enumerate(zip(expected.tokens, found.tokens, strict=False)):
        if left != right:
            return f"position {position}: token {right} where Python has {left}"
    return None


def first_divergence(
    model: QuantModel, target: Target, positions: int, extras: Extras = PLAIN, tuning: Values | None = None
) -> Divergence | None:
    """Build the program again with all intermediate values written out, and find the first that differs.

    None when all are equal: the difference is then only in the build without trace.
    """
    generation = generate(model, target, extras=extras, tuning=tuning, trace=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for path, content in generation.files.items():
            (folder / path).write_bytes(content)
        objects = compile_objects(folder, generation.sources, target, folder)
        output = run_program(link(objects, target, folder / "trace"), ["--selftest", str(positions)])
    return compare_traces(model, parse_trace(output), positions, extras.tokens)


def parse_trace(output: bytes) -> Iterator[tuple[str, int, Array]]:
    """The records of a traced program: (tensor, layer, values), in the order of the computation.

    Raises LlgenError when the output is truncated or is not a trace.
    """
    at = 0
    while at < len(output):
        end = output.find(b"\n", at)
        words = output[at:end].split() if end >= 0 else []
        if len(words) != 3 or end + 1 + 4 * int(words[2]) > len(output):
            raise LlgenError(f"the trace breaks off at byte {at} of {len(output)}")
        count = int(words[2])
        yield words[0].decode(), int(words[1]), np.frombuffer(output, "<f4", count, end + 1)
        at = end + 1 + 4 * count


def compare_traces(
    model: QuantModel, found: Iterator[tuple[str, int, Array]], positions: int, prompt: Sequence[int] = ()
) -> Divergence | None:
    """Run the reference alongside a trace, and stop at the first difference in bits."""
    expected: list[tuple[str, int, Array]] = []
    reference, token = begin(model, prompt, lambda tensor, layer, values: expected.append((tensor, layer, values[0])))
    for position in range(positions):
        expected.clear()
        logits = reference.feed([token])[0]
        token = likeliest(logits, model.padding)
        for tensor, layer, values in expected:
            name, index, got = next(found, ("nothing", -1, np.zeros(0, np.float32)))
            if (name, index, got.shape) != (tensor, layer, values.shape):
                raise LlgenError(f"the trace has {name} of layer {index} where Python has {tensor} of layer {layer}")
            different = np.flatnonzero(got.view(np.uint32) != values.view(np.uint32))
            if different.size:
                at = int(different[0])
                return Divergence(position, layer, tensor, at, float(values[at]), float(got[at]))
    return None


def closeness(reference: Array, other: Array) -> Closeness:
    """Compare logits [positions, vocab_size] with those of another implementation."""
    ours, theirs = reference.astype(np.float64), other.astype(np.float64)
    spread = ours.max(axis=1) - ours.min(axis=1)
    difference = np.abs(ours - theirs).max(axis=1) / np.maximum(spread, np.finfo(np.float32).tiny)
    log_p, log_q = _log_softmax(theirs), _log_softmax(ours)
    kl = (np.exp(log_p) * (log_p - log_q)).sum(axis=1)
    same = ours.argmax(axis=1) == theirs.argmax(axis=1)
    return Closeness(float(difference.max()), float(kl.max()), float(same.mean()))


def _log_softmax(logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    shifted = logits - logits.max(axis=1, keepdims=True)
    result: npt.NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result
