"""Quantising: the numbers of a model as the device will hold them.

Scheme f32 keeps the folded matrices; q8 and q4 round them to integers. What comes out is exactly what the C and the
NumPy reference both compute with.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from llgen.errors import LlgenError, UsageError, unknown_name

from ..contract.matrix import IntMatrix, Matrix, to_bits
from ..contract.numerics import Array
from ..model.architectures import graph_of
from ..model.architectures.graph import Graph
from ..model.checkpoint import Checkpoint
from ..model.config import ModelConfig
from ..model.spec import ModelSpec, lower
from ..model.vocabulary import Vocabulary
from .fold import FoldedModel, fold

CACHES = ("f32", "q8")


@dataclass(frozen=True)
class QuantModel:
    """A model in the number format of its scheme."""

    name: str
    sha256: str
    """Of its numbers and its tokenizer, `model_sha256`: no two different models have the same."""
    scheme: str
    kv: str
    """How keys and values are kept: f32, or q8, 8 bits with one scale a head vector."""
    config: ModelConfig
    context: int
    matrices: Mapping[str, Matrix]
    """With gains folded in, by the names of `Graph.each_matrix` and in its order"""
    final_gain: Array | None
    """[dim]; None when it is folded into a classifier of its own"""
    gain_block: int
    """How many channels `numerics.hadamard` mixes before the last gain, and again after it; 1: none"""
    rope_cos: Array
    rope_sin: Array
    error: Mapping[str, float]
    """Largest |held - exact| of each kind of matrix, relative to the largest |exact|."""
    vocabulary: Vocabulary | None

    @property
    def graph(self) -> Graph:
        """The network."""
        return graph_of(self.config)

    @property
    def embedding(self) -> Matrix:
        """[vocab_size, dim]; the classifier too, when that is None"""
        return self.matrices[self.graph.embedding.name]

    @property
    def classifier(self) -> Matrix | None:
        """[vocab_size, dim]"""
        return None if self.config.tied else self.matrices[self.graph.classifier.name]

    @property
    def start_id(self) -> int:
        """The token that a conversation without a prompt begins with."""
        return self.config.start_id

    @property
    def padding(self) -> tuple[int, ...]:
        """The rows that are no tokens: no choice falls on them."""
        return () if self.vocabulary is None else self.vocabulary.padding

    @property
    def is_integer(self) -> bool:
        """Whether products are sums of integers."""
        return self.scheme != "f32"

    @property
    def bits_used(self) -> frozenset[int]:
        """How many bits its matrices have."""
        return frozenset(matrix.bits for matrix in self.matrices.values())

    @property
    def has_groups(self) -> bool:
        """Whether some matrix has a multiplier for each group of columns."""
        return min(self.bits_used) < 8

    @property
    def bits_a_weight(self) -> float:
        """On average, with scales and multipliers."""
        matrices = self.matrices.values()
        weights = sum(rows * columns for rows, columns in (matrix.shape for matrix in matrices))
        return sum(matrix.stored_bits for matrix in matrices) / weights

    def integer_matrices(self) -> dict[str, IntMatrix]:
        """Those of `matrices` that are integers: all, or none."""
        return {name: matrix for name, matrix in self.matrices.items() if isinstance(matrix, IntMatrix)}

    def for_context(self, context: int | None) -> QuantModel:
        """The model for fewer positions; None leaves it as it is.

        Raises LlgenError when it was not made for that many.
        """
        if context is None:
            return self
        if not 1 <= context <= self.context:
            raise LlgenError(
                f"a context of {context} was asked for; the model has 1 to {self.context} positions",
                f"--context {self.context}, or less",
                facts={"value": context, "minimum": 1, "maximum": self.context},
            )
        return replace(self, context=context, rope_cos=self.rope_cos[:context], rope_sin=self.rope_sin[:context])


def quantize(spec: ModelSpec, scheme: str, kv: str | None = None) -> QuantModel:
    """Turn a ModelSpec into the numbers of `scheme`, rounded to nearest; `kv` None is the scheme's usual cache.

    Raises UsageError for a scheme or cache that does not exist.
    """
    return round_to_nearest(fold(spec, scheme), kv)


def round_to_nearest(folded: FoldedModel, kv: str | None = None) -> QuantModel:
    """As `quantize`, of matrices that are folded already."""
    bits = usual_bits(folded.spec.config, folded.scheme)
    return assemble(folded, kv, {name: to_bits(values, bits[name]) for name, values in folded.matrices.items()})


def matrix_shapes(config: ModelConfig) -> dict[str, tuple[int, int]]:
    """[rows, columns] of every matrix, by the names of `QuantModel.matrices`."""
    return {name: matrix.shape for name, matrix, _ in graph_of(config).each_matrix()}


def usual_bits(config: ModelConfig, scheme: str) -> dict[str, int]:
    """Bits of a weight of every matrix: q4 leaves the embedding and the classifier 8, which they need most."""
    outside, inside = {"f32": (32, 32), "q8": (8, 8), "q4": (8, 4)}[scheme]
    return {name: inside if matrix.layered else outside for name, matrix, _ in graph_of(config).each_matrix()}


def usual_cache(scheme: str) -> str:
    """The cache that suits a scheme when none is asked for."""
    return "f32" if scheme == "f32" else "q8"


def assemble(folded: FoldedModel, kv: str | None, matrices: Mapping[str, Matrix]) -> QuantModel:
    """A QuantModel of matrices that somebody quantised.

    Raises UsageError for a cache that does not exist, or that the scheme does not go with.
    """
    spec, scheme = folded.spec, folded.scheme
    kv = kv or usual_cache(scheme)
    if kv not in CACHES:
        raise unknown_name("cache", kv, CACHES)
    if scheme == "f32" and kv != "f32":
        raise UsageError(f"scheme f32 keeps its keys and values in float32, not {kv}", "--scheme q8")
    return QuantModel(
        name=spec.name,
        sha256=model_sha256(spec.config, matrices, folded.final_gain, folded.gain_block, spec.vocabulary),
        scheme=scheme,
        kv=kv,
        config=spec.config,
        context=spec.context,
        matrices={name: matrices[name] for name, _, _ in spec.graph.each_matrix()},
        final_gain=folded.final_gain,
        gain_block=folded.gain_block,
        rope_cos=spec.rope_cos,
        rope_sin=spec.rope_sin,
        error=_errors(folded, matrices),
        vocabulary=spec.vocabulary,
    )


def model_sha256(
    config: ModelConfig,
    matrices: Mapping[str, Matrix],
    final_gain: Array | None,
    gain_block: int,
    vocabulary: Vocabulary | None,
) -> str:
    """A hash of all that decides what a model computes, its cache and context apart, and of its tokenizer."""
    digest = hashlib.sha256(config.identity)
    if gain_block > 1:
        digest.update(f"gain_block {gain_block}".encode())
    arrays = {f"{name}.{part}": array for name in matrices for part, array in matrices[name].arrays().items()}
    if final_gain is not None:
        arrays["final_gain"] = final_gain
    for name in sorted(arrays):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(arrays[name], arrays[name].dtype.newbyteorder("<")).data)
    if vocabulary is not None:
        digest.update(vocabulary.identity)
    return digest.hexdigest()


def _errors(folded: FoldedModel, matrices: Mapping[str, Matrix]) -> dict[str, float]:
    errors: dict[str, float] = {}
    for name, exact in folded.matrices.items():
        kind = name.partition(".")[0]
        largest = float(np.abs(exact).max())
        difference = float(np.abs(matrices[name].dequantized().astype(np.float64) - exact).max())
        errors[kind] = max(errors.get(kind, 0.0), difference / largest if largest else 0.0)
    return errors


def quantized(
    checkpoint: Checkpoint, scheme: str = "f32", kv: str | None = None, context: int | None = None
) -> QuantModel:
    """A trained model in the numbers of a scheme, rounded to nearest."""
    return quantize(lower(checkpoint, context), scheme, kv)
