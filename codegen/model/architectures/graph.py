"""The graph of a network: operations in their order, the vectors between them, and the matrices that they use.

An architecture is a function that turns a ModelConfig into such a graph (llama.py). All stages read it: files are read
and written by its tensors, matrices are fused, folded and packed as it says, the arena takes lifetimes from it, the
NumPy reference and the trainer's folded model run it, and the template of the network prints it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from functools import cached_property

OUTSIDE = -1
"""The layer of an operation that belongs to none."""


class Mixing(Enum):
    """Channels that `quantise.rotation` mixes with one another, when weights become integers."""

    NONE = "none"
    HEADS = "heads"
    """Each head's values: between the matrix that makes them and the matrix that takes what attention makes of them."""
    STREAM = "stream"
    """The residual stream: all that writes to it and all that reads from it."""


@dataclass(frozen=True)
class Dimension:
    """A width of vectors and matrices."""

    name: str
    """Generated C has a constant of this name, in capitals."""
    size: int
    mixing: Mixing = Mixing.NONE


@dataclass(frozen=True)
class TensorName:
    """What files call a tensor; `{layer}` stands for the number of the layer."""

    huggingface: str
    gguf: str

    def of(self, layer: int) -> TensorName:
        """The name of the tensor of one layer."""
        return TensorName(self.huggingface.format(layer=layer), self.gguf.format(layer=layer))


@dataclass(frozen=True)
class Tensor:
    """A tensor as a model directory holds it."""

    name: TensorName
    shape: tuple[int, ...]
    rotated: bool
    """RoPE turns what its rows make, so that the order of the rows depends on the format of the file."""


@dataclass(frozen=True)
class Gain:
    """The learned factors of a norm, [size]."""

    name: TensorName
    size: Dimension


@dataclass(frozen=True)
class Part:
    """Rows of a matrix that are a tensor of their own in files."""

    title: str
    """For comments."""
    name: TensorName
    rows: Dimension
    scale: float = 1.0
    """The rows are multiplied by it when the gain has been."""
    rotated: bool = False
    """As in Tensor."""


@dataclass(frozen=True)
class WeightMatrix:
    """A matrix of a layer or of the whole network: its parts stand one above the other, as they read one vector."""

    name: str
    """In generated C and, with the number of the layer, in files of quantised models."""
    parts: tuple[Part, ...]
    columns: Dimension
    layered: bool = True
    """Each layer has one."""
    gain: Gain | None = None
    """Its columns are multiplied by it, so that the norm before it has no gain of its own."""
    apart: bool = False
    """Each part begins a block of rows of its own; else only the last part is padded."""

    @property
    def rows(self) -> int:
        return sum(part.rows.size for part in self.parts)

    @property
    def shape(self) -> tuple[int, int]:
        """[rows, columns]"""
        return self.rows, self.columns.size

    @property
    def padded_parts(self) -> int:
        """How many equal parts are padded to whole blocks of rows, each by itself."""
        return len(self.parts) if self.apart else 1

    def slices(self) -> Iterator[tuple[Part, slice]]:
        """Each part with its rows."""
        first = 0
        for part in self.parts:
            yield part, slice(first, first + part.rows.size)
            first += part.rows.size

    def name_in(self, layer: int) -> str:
        """The matrix of one layer: NAME.LAYER; NAME for the whole network's."""
        return f"{self.name}.{layer}" if self.layered else self.name


@dataclass(frozen=True)
class Vector:
    """Activations of a position. Vectors of one name share their place in memory."""

    name: str
    parts: tuple[Dimension, ...]
    """They follow one another in memory."""
    apart: bool = False
    """Each part begins where a block of rows does, as in WeightMatrix."""
    kept: bool = False
    """It outlives the evaluation, as a member of the state."""

    @property
    def size(self) -> int:
        return sum(part.size for part in self.parts)


# ------------------------------------------------------------------------------------------------------- operations


@dataclass(frozen=True, kw_only=True)
class Operation:
    """A step of the network: it reads `inputs` and writes `output`."""

    name: str
    inputs: tuple[Vector, ...] = ()
    output: Vector
    trace: str | None = None
    """The name of the first part of the output in traces; None: it is not traced."""

    @property
    def input(self) -> Vector:
        """The first of the inputs."""
        return self.inputs[0]

    @property
    def gain_read(self) -> Gain | None:
        """The gain of a norm."""
        return None

    @property
    def matrix_read(self) -> WeightMatrix | None:
        """The matrix of an operation that has one."""
        return None


@dataclass(frozen=True, kw_only=True)
class Embed(Operation):
    """The rows of a matrix that belong to tokens."""

    matrix: WeightMatrix

    @property
    def matrix_read(self) -> WeightMatrix:
        return self.matrix


@dataclass(frozen=True, kw_only=True)
class Norm(Operation):
    """A vector divided by its root mean square."""

    gain: Gain
    folded: bool = True
    """The gain is part of the matrix that follows; else the vector is multiplied by it."""

    @property
    def gain_read(self) -> Gain:
        return self.gain


@dataclass(frozen=True, kw_only=True)
class Product(Operation):
    """A matrix times a vector."""

    matrix: WeightMatrix
    adds: bool = False
    """The output is added to."""

    @property
    def matrix_read(self) -> WeightMatrix:
        return self.matrix


@dataclass(frozen=True, kw_only=True)
class Attention(Operation):
    """Causal attention with RoPE over an input of queries, keys and values; query heads share keys and values."""

    heads: int
    kv_heads: int
    head_dim: int
    query_trace: str
    """The name in traces of the queries that RoPE has turned."""
    key_trace: str


@dataclass(frozen=True, kw_only=True)
class SwiGLU(Operation):
    """silu(first part) times the second part, in place of the first."""


@dataclass(frozen=True, kw_only=True)
class Sample(Operation):
    """What a choice among tokens needs; the caller does it, with one position's logits."""


# ------------------------------------------------------------------------------------------------------------ graph


@dataclass(frozen=True)
class Graph:
    """A network: operations before its layers, of each layer, and after the last."""

    before: tuple[Operation, ...]
    layer: tuple[Operation, ...]
    after: tuple[Operation, ...]
    n_layers: int

    @property
    def operations(self) -> tuple[Operation, ...]:
        """Each once, in the order in which they first run."""
        return self.before + self.layer + self.after

    def walk(self) -> Iterator[tuple[Operation, int]]:
        """Every operation of an evaluation with its layer, in order."""
        yield from ((operation, OUTSIDE) for operation in self.before)
        for layer in range(self.n_layers):
            yield from ((operation, layer) for operation in self.layer)
        yield from ((operation, OUTSIDE) for operation in self.after)

    # -------------------------------------------------------------------------------------------- matrices, tensors

    @cached_property
    def matrices(self) -> dict[str, WeightMatrix]:
        """By name, in the order in which they are first used."""
        return {each.name: each for operation in self.operations if (each := operation.matrix_read) is not None}

    def each_matrix(self) -> Iterator[tuple[str, WeightMatrix, int]]:
        """The matrices of all layers: NAME.LAYER or NAME, what it is, and its layer; in the order of first use."""
        seen: set[str] = set()
        for operation, layer in self.walk():
            matrix = operation.matrix_read
            if matrix is not None and (name := matrix.name_in(layer)) not in seen:
                seen.add(name)
                yield name, matrix, layer

    def matrix(self, name: str) -> WeightMatrix:
        """The matrix of a name of `each_matrix`."""
        return self.matrices[name.partition(".")[0]]

    @property
    def embedding(self) -> WeightMatrix:
        """The matrix whose rows belong to tokens."""
        return next(operation.matrix for operation in self.operations if isinstance(operation, Embed))

    @property
    def classifier(self) -> WeightMatrix:
        """The matrix that makes the logits; the embedding where that serves."""
        return self.products[-1].matrix

    @property
    def products(self) -> tuple[Product, ...]:
        """The operations that multiply a matrix by a vector."""
        return tuple(operation for operation in self.operations if isinstance(operation, Product))

    @property
    def only_looked_up(self) -> frozenset[str]:
        """Names of matrices that no vector is multiplied with: an embedding beside a classifier."""
        return frozenset(self.matrices.keys() - {product.matrix.name for product in self.products})

    @property
    def longest_row(self) -> int:
        """Columns of the widest matrix that vectors are multiplied with."""
        return max(product.matrix.columns.size for product in self.products)

    @property
    def own_gain(self) -> Norm | None:
        """The norm whose gain is part of no matrix; None when all are."""
        norms = (operation for operation in self.operations if isinstance(operation, Norm))
        return next((norm for norm in norms if not norm.folded), None)

    def tensors(self) -> Iterator[Tensor]:
        """What a model directory holds, in the order of first use."""
        seen: set[TensorName] = set()
        for operation, layer in self.walk():
            for tensor in _tensors_of(operation, layer):
                if tensor.name not in seen:
                    seen.add(tensor.name)
                    yield tensor

    def gains(self) -> Iterator[str]:
        """Hugging Face's names of the factors of norms."""
        for operation, layer in self.walk():
            if operation.gain_read is not None:
                yield operation.gain_read.name.of(layer).huggingface

    @cached_property
    def rotated(self) -> frozenset[str]:
        """Hugging Face's names of the tensors whose rows make what RoPE turns."""
        return frozenset(tensor.name.huggingface for tensor in self.tensors() if tensor.rotated)

    # ------------------------------------------------------------------------------------------------------ vectors

    def step(self, operation: Operation) -> int:
        """The place of an operation among `operations`."""
        return self.operations.index(operation)

    def span(self, vector: Vector) -> tuple[int, int]:
        """The first and the last of `operations` between which a vector must stay, both included.

        A vector that a layer reads before it writes it comes from the layer before, and stays for all layers.
        """
        writes, reads = self._steps(vector, writes=True), self._steps(vector, writes=False)
        first, last = min(writes), max(writes + reads)
        loop = range(len(self.before), len(self.before) + len(self.layer))
        reads_here, writes_here = ([step for step in steps if step in loop] for steps in (reads, writes))
        if reads_here and (not writes_here or min(reads_here) <= min(writes_here)):
            first, last = min(first, loop[0]), max(last, loop[-1])
        return first, last

    def _steps(self, vector: Vector, *, writes: bool) -> list[int]:
        return [
            step
            for step, operation in enumerate(self.operations)
            for each in ((operation.output,) if writes else operation.inputs)
            if each.name == vector.name
        ]


def _tensors_of(operation: Operation, layer: int) -> Iterator[Tensor]:
    gain, matrix = operation.gain_read, operation.matrix_read
    if gain is not None:
        yield Tensor(gain.name.of(layer), (gain.size.size,), rotated=False)
    if matrix is not None:
        for part in matrix.parts:
            yield Tensor(part.name.of(layer), (part.rows.size, matrix.columns.size), part.rotated)
