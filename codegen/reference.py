"""The forward pass in NumPy: the executable specification of what generated C computes.

Positions are processed side by side where the contract leaves their order free; no accumulation ever changes its order.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from .errors import LlgenError
from .numerics import Array, Float, exp, lane_sum, matvec, rms_scale, rotate, swiglu
from .quantize import QuantLayer, QuantModel

Observer = Callable[[str, int, Array], None]
"""Called with (tensor, layer, values [positions, width]) for every intermediate; layer is -1 outside of layers."""


def _ignore(tensor: str, layer: int, values: Array) -> None:
    pass


@dataclass
class _Cache:
    """Rotated keys and values of one layer, [positions so far, n_kv_heads, head_dim]."""

    keys: Array
    values: Array


@dataclass
class Reference:
    """One conversation with a model; like the C's state, it grows by the positions it is given."""

    model: QuantModel
    observer: Observer = _ignore
    position: int = 0
    _caches: list[_Cache] = field(default_factory=list)

    def __post_init__(self) -> None:
        config = self.model.config
        empty = np.zeros((0, config.n_kv_heads, config.head_dim), Float)
        self._caches = [_Cache(empty, empty) for _ in self.model.layers]

    def feed(self, tokens: Sequence[int]) -> Array:
        """Evaluate the next positions; returns their logits, [len(tokens), vocab_size].

        Raises LlgenError for an id outside of the vocabulary, or past the context.
        """
        model = self.model
        self._check(tokens)
        x = model.embedding[np.asarray(tokens, dtype=np.int64)]
        self.observer("embedding", -1, x)
        for index, layer in enumerate(model.layers):
            x = self._attention(x, index, layer)
            x = self._feed_forward(x, index, layer)
        self.position += len(tokens)
        n = x * rms_scale(x, Float(model.config.norm_eps))
        if model.final_gain is not None:
            n = n * model.final_gain
        self.observer("final_norm", -1, n)
        logits = matvec(model.embedding if model.classifier is None else model.classifier, n)
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
        n = x * rms_scale(x, Float(config.norm_eps))
        self.observer("attention_norm", index, n)
        qkv = matvec(layer.wqkv, n)
        self.observer("qkv", index, qkv)
        here = slice(self.position, self.position + count)
        cos = self.model.rope_cos[here, np.newaxis, :]
        sin = self.model.rope_sin[here, np.newaxis, :]
        q = rotate(qkv[:, : config.q_dim].reshape(count, config.n_heads, config.head_dim), cos, sin)
        self.observer("query", index, q.reshape(count, -1))
        k = qkv[:, config.q_dim : config.q_dim + config.kv_dim].reshape(count, config.n_kv_heads, config.head_dim)
        v = qkv[:, config.q_dim + config.kv_dim :].reshape(count, config.n_kv_heads, config.head_dim)
        cache = self._caches[index]
        k = rotate(k, cos, sin)
        self.observer("key", index, k.reshape(count, -1))
        cache.keys = np.concatenate([cache.keys, k])
        cache.values = np.concatenate([cache.values, v])
        mixed = np.stack([_attend(q[i], cache, self.position + i + 1) for i in range(count)])
        self.observer("attention", index, mixed)
        x = x + matvec(layer.wo, mixed)
        self.observer("attention_residual", index, x)
        return x

    def _feed_forward(self, x: Array, index: int, layer: QuantLayer) -> Array:
        hidden = self.model.config.hidden_dim
        n = x * rms_scale(x, Float(self.model.config.norm_eps))
        self.observer("ffn_norm", index, n)
        gate_up = matvec(layer.w13, n)
        h = swiglu(gate_up[:, :hidden], gate_up[:, hidden:])
        self.observer("swiglu", index, h)
        x = x + matvec(layer.w2, h)
        self.observer("ffn_residual", index, x)
        return x


def _attend(q: Array, cache: _Cache, positions: int) -> Array:
    """Softmax attention of one position over `positions` keys: `q` [n_heads, head_dim] -> [n_heads * head_dim].

    A score accumulates over the head's elements in ascending order, an output over the positions in ascending order;
    the outputs are multiplied by the reciprocal of the sum of exponentials at the end.
    """
    n_heads, head_dim = q.shape
    group = n_heads // cache.keys.shape[1]
    keys = np.repeat(cache.keys[:positions], group, axis=1)
    values = np.repeat(cache.values[:positions], group, axis=1)
    scores = np.zeros((n_heads, positions), Float)
    for i in range(head_dim):
        scores = scores + q[:, i, np.newaxis] * keys[:, :, i].T
    odds = exp(scores - scores.max(axis=1, keepdims=True))
    total = np.zeros((n_heads, head_dim), Float)
    for position in range(positions):
        total = total + odds[:, position, np.newaxis] * values[position]
    mixed: Array = total * (Float(1.0) / lane_sum(odds))[:, np.newaxis]
    return mixed.reshape(-1)


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


def selftest(model: QuantModel, positions: int, progress: Callable[[int], None] | None = None) -> Trace:
    """Decode greedily from the start token for `positions` positions, as the generated program's `--selftest` does.

    `progress`, when given, is called with the positions done. Raises LlgenError when the context is shorter.
    """
    reference = Reference(model)
    tokens = [model.start_id]
    digest = 0
    for done in range(1, positions + 1):
        logits = reference.feed(tokens[-1:])[0]
        digest = zlib.crc32(logits.astype("<f4").tobytes(), digest)
        tokens.append(int(np.argmax(logits)))
        if progress is not None:
            progress(done)
    return Trace(tuple(tokens[:positions]), digest)
