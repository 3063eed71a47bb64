"""The forward pass in NumPy: the executable specification of what generated C computes.

Positions are processed side by side where the contract leaves their order free; no accumulation ever changes its order.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from .cache import Cache, FloatCache, IntCache
from .errors import LlgenError
from .matrix import FloatMatrix, IntMatrix, Matrix
from .numerics import Array, Float, Quantized, hadamard, quantize_vector, rms_scale, rotate, swiglu
from .quantize import QuantLayer, QuantModel

Observer = Callable[[str, int, Array], None]
"""Called with (tensor, layer, values [positions, width]) for every intermediate; layer is -1 outside of layers."""


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
        self.caches = [kind.empty(config.n_kv_heads, config.head_dim) for _ in self.model.layers]

    def feed(self, tokens: Sequence[int]) -> Array:
        """Evaluate the next positions; returns their logits, [len(tokens), vocab_size].

        Raises LlgenError for an id outside of the vocabulary, or past the context.
        """
        model = self.model
        self._check(tokens)
        x = _rows(model.embedding, np.asarray(tokens, dtype=np.int64))
        self.observer("embedding", -1, x)
        for index, layer in enumerate(model.layers):
            x = self._attention(x, index, layer)
            x = self._feed_forward(x, index, layer)
        self.position += len(tokens)
        classifier = model.embedding if model.classifier is None else model.classifier
        logits = self._product_of_norm("final_norm", -1, classifier, x, model.final_gain)
        self.observer("logits", -1, logits)
        return logits

    def _check(self, tokens: Sequence[int]) -> None:
        for token in tokens:
            if not 0 <= token < self.model.config.vocab_size:
                raise LlgenError(f"token {token} is none of the {self.model.config.vocab_size} of the vocabulary")
        if self.position + len(tokens) > self.model.context:
            raise LlgenError(
                f"{self.position + len(tokens)} positions were asked for; the context has {self.model.context}"
            )

    def _attention(self, x: Array, index: int, layer: QuantLayer) -> Array:
        config = self.model.config
        count = x.shape[0]
        qkv = self._product_of_norm("attention_norm", index, layer.wqkv, x)
        self.observer("qkv", index, qkv)
        here = slice(self.position, self.position + count)
        cos = self.model.rope_cos[here, np.newaxis, :]
        sin = self.model.rope_sin[here, np.newaxis, :]
        q = rotate(qkv[:, : config.q_dim].reshape(count, config.n_heads, config.head_dim), cos, sin)
        self.observer("query", index, q.reshape(count, -1))
        k = qkv[:, config.q_dim : config.q_dim + config.kv_dim].reshape(count, config.n_kv_heads, config.head_dim)
        v = qkv[:, config.q_dim + config.kv_dim :].reshape(count, config.n_kv_heads, config.head_dim)
        k = rotate(k, cos, sin)
        self.observer("key", index, k.reshape(count, -1))
        cache = self.caches[index]
        cache.extend(k, v)
        mixed = np.stack([cache.attend(q[i], self.position + i + 1) for i in range(count)])
        self.observer("attention", index, mixed)
        x = x + _product(layer.wo, mixed)
        self.observer("attention_residual", index, x)
        return x

    def _feed_forward(self, x: Array, index: int, layer: QuantLayer) -> Array:
        hidden = self.model.config.hidden_dim
        gate_up = self._product_of_norm("ffn_norm", index, layer.w13, x)
        h = swiglu(gate_up[:, :hidden], gate_up[:, hidden:])
        self.observer("swiglu", index, h)
        x = x + _product(layer.w2, h)
        self.observer("ffn_residual", index, x)
        return x

    def _product_of_norm(self, name: str, layer: int, matrix: Matrix, x: Array, gain: Array | None = None) -> Array:
        """The matrix times the normalised `x`.

        Integers make the norm's factor part of the scale, so that the vector need not be multiplied by it first.
        """
        factor = rms_scale(x, Float(self.model.config.norm_eps))
        if isinstance(matrix, FloatMatrix):
            n = x * factor
            if gain is not None:
                n = n * gain
            self.observer(name, layer, n)
            return matrix.product(n)
        if gain is not None:
            block = self.model.gain_block
            x = hadamard(hadamard(x, block) * gain, block)
        quantized = quantize_vector(x)
        scaled = Quantized(quantized.integers, quantized.scale * factor)
        self.observer(name, layer, scaled.integers.astype(Float) * scaled.scale)
        return matrix.product(scaled)


def _product(matrix: Matrix, x: Array) -> Array:
    return matrix.product(x) if isinstance(matrix, FloatMatrix) else matrix.product(quantize_vector(x))


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

    With a `prompt` the first of them is its last token, behind all others. `progress`, when given, is called with the
    positions done. Raises LlgenError when the context is shorter.
    """
    reference, token = begin(model, prompt)
    tokens = [token]
    digest = 0
    for done in range(1, positions + 1):
        logits = reference.feed(tokens[-1:])[0]
        digest = zlib.crc32(logits.astype("<f4").tobytes(), digest)
        tokens.append(int(np.argmax(logits)))
        if progress is not None:
            progress(done)
    return Trace(tuple(tokens[:positions]), digest)
