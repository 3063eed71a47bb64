"""The forward pass in NumPy, which runs a model's graph: the executable specification of what generated C computes.

Positions are processed side by side where the contract leaves their order free; no accumulation ever changes its order.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from llgen.errors import LlgenError

from ..contract.matrix import FloatMatrix, IntMatrix, Matrix
from ..contract.numerics import Array, Float, Quantized, hadamard, quantize_vector, rms_scale, rotate, swiglu
from ..model.architectures.graph import (
    OUTSIDE,
    Attention,
    Embed,
    Norm,
    Operation,
    Product,
    Sample,
    SwiGLU,
    Vector,
    WeightMatrix,
)
from ..quantise.padding import likeliest
from ..quantise.quantize import QuantModel
from .cache import Cache, FloatCache, IntCache

Observer = Callable[[str, int, Array], None]
"""Called with (tensor, layer, values [positions, width]) for every intermediate; layer is -1 outside of layers."""

Vectors = Array | Quantized
"""A vector of activations for each position."""


def _ignore(tensor: str, layer: int, values: Array) -> None:
    pass


@dataclass
class Reference:
    """One conversation with a model; like the C's state, it grows by the positions it is given."""

    model: QuantModel
    observer: Observer = _ignore
    position: int = 0
    caches: list[Cache] = field(default_factory=list, init=False)
    """Of each layer, the keys and values so far."""

    def __post_init__(self) -> None:
        config = self.model.config
        kind = FloatCache if self.model.kv == "f32" else IntCache
        self.caches = [kind.empty(config.n_kv_heads, config.head_dim) for _ in range(config.n_layers)]

    def feed(self, tokens: Sequence[int]) -> Array:
        """Evaluate the next positions; returns their logits, [len(tokens), vocab_size].

        Raises LlgenError for an id outside of the vocabulary, or past the context.
        """
        self._check(tokens)
        vectors: dict[str, Vectors] = {}
        for operation, layer in self.model.graph.walk():
            self._run(operation, layer, tokens, vectors)
        self.position += len(tokens)
        return _floats(vectors[self.model.graph.products[-1].output.name])

    def _check(self, tokens: Sequence[int]) -> None:
        for token in tokens:
            if not 0 <= token < self.model.config.vocab_size:
                raise LlgenError(f"token {token} is none of the {self.model.config.vocab_size} of the vocabulary")
        if self.position + len(tokens) > self.model.context:
            raise LlgenError(
                f"{self.position + len(tokens)} positions were asked for; the context has {self.model.context}"
            )

    def _run(self, operation: Operation, layer: int, tokens: Sequence[int], vectors: dict[str, Vectors]) -> None:
        """Compute an operation's output, and show it to the observer."""
        match operation:
            case Embed():
                result: Vectors = self._embed(operation, tokens)
            case Norm():
                result = self._norm(operation, layer, _floats(vectors[operation.input.name]))
            case Product():
                result = self._product(operation, layer, vectors)
            case Attention():
                result = self._attention(operation, layer, _floats(vectors[operation.input.name]))
            case SwiGLU():
                result = swiglu(*_parts(operation.input, _floats(vectors[operation.input.name])))
            case Sample():
                return  # the caller chooses a token
            case _:
                raise NotImplementedError(f"the reference has no {type(operation).__name__}")
        vectors[operation.output.name] = result
        if operation.trace is not None:
            values = result.integers.astype(Float) * result.scale if isinstance(result, Quantized) else result
            self.observer(operation.trace, layer, values)

    def _matrix(self, matrix: WeightMatrix, layer: int) -> Matrix:
        return self.model.matrices[matrix.name_in(layer)]

    def _embed(self, operation: Embed, tokens: Sequence[int]) -> Array:
        return _rows(self._matrix(operation.matrix, OUTSIDE), np.asarray(tokens, dtype=np.int64))

    def _norm(self, operation: Norm, layer: int, x: Array) -> Vectors:
        """The normalised `x`, times the gain where that is no part of the matrix that follows.

        Integers make the norm's factor part of the scale, so that the vector need not be multiplied by it first.
        """
        model = self.model
        factor = rms_scale(x, Float(model.config.norm_eps))
        gain = None if operation.folded else model.final_gain
        if not model.is_integer:
            return x * factor if gain is None else x * factor * gain
        if gain is not None:
            x = hadamard(hadamard(x, model.gain_block) * gain, model.gain_block)
        quantized = quantize_vector(x)
        return Quantized(quantized.integers, quantized.scale * factor)

    def _product(self, operation: Product, layer: int, vectors: Mapping[str, Vectors]) -> Array:
        matrix, x = self._matrix(operation.matrix, layer), vectors[operation.input.name]
        if isinstance(matrix, FloatMatrix):
            result = matrix.product(_floats(x))
        else:
            result = matrix.product(x if isinstance(x, Quantized) else quantize_vector(x))
        return _floats(vectors[operation.output.name]) + result if operation.adds else result

    def _attention(self, operation: Attention, layer: int, qkv: Array) -> Array:
        count, here = len(qkv), slice(self.position, self.position + len(qkv))
        cos = self.model.rope_cos[here, np.newaxis, :]
        sin = self.model.rope_sin[here, np.newaxis, :]
        q, k, v = (part.reshape(count, -1, operation.head_dim) for part in _parts(operation.input, qkv))
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        self.observer(operation.query_trace, layer, q.reshape(count, -1))
        self.observer(operation.key_trace, layer, k.reshape(count, -1))
        cache = self.caches[layer]
        cache.extend(k, v)
        return np.stack([cache.attend(q[i], self.position + i + 1) for i in range(count)])


def _floats(vectors: Vectors) -> Array:
    assert not isinstance(vectors, Quantized)
    return vectors


def _parts(vector: Vector, values: Array) -> list[Array]:
    """The parts of vectors [positions, width]."""
    return np.split(values, np.cumsum([part.size for part in vector.parts[:-1]]), axis=1)


def _rows(matrix: Matrix, rows: npt.NDArray[np.int64]) -> Array:
    """Rows of an embedding, [len(rows), dim]."""
    if isinstance(matrix, FloatMatrix):
        return matrix.values[rows]
    multipliers = None if matrix.multipliers is None else matrix.multipliers[rows]
    return IntMatrix(matrix.bits, matrix.integers[rows], matrix.scales[rows], multipliers).dequantized()


def begin(model: QuantModel, prompt: Sequence[int] = (), observer: Observer = _ignore) -> tuple[Reference, int]:
    """A conversation with all of a prompt but its last token, which comes next; without one, the start token does."""
    reference = Reference(model, observer)
    if not prompt:
        return reference, model.start_id
    reference.feed(prompt[:-1])
    return reference, prompt[-1]


# --------------------------------------------------------------------------------------------------------- selftest


@dataclass(frozen=True)
class Trace:
    """What a run gave: from the reference or from generated C, to be compared."""

    tokens: tuple[int, ...]
    """The tokens evaluated, one a position."""
    digest: int
    """CRC-32 of the little-endian float32 logits of every position, in order."""

    @property
    def digest_hex(self) -> str:
        return f"{self.digest:08x}"


def selftest(
    model: QuantModel,
    positions: int,
    progress: Callable[[int], None] | None = None,
    prompt: Sequence[int] = (),
) -> Trace:
    """Decode greedily from the start token for `positions` positions, as the generated program's `--selftest` does.

    With a `prompt`, the first of these positions is the prompt's last token, after all others. `progress`, when given,
    is called with the positions done. Raises LlgenError when the context is shorter.
    """
    reference, token = begin(model, prompt)
    tokens = [token]
    digest = 0
    for done in range(1, positions + 1):
        logits = reference.feed(tokens[-1:])[0]
        digest = zlib.crc32(logits.astype("<f4").tobytes(), digest)
        tokens.append(likeliest(logits, model.padding))
        if progress is not None:
            progress(done)
    return Trace(tuple(tokens[:positions]), digest)
