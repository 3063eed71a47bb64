"""The words of the network: what the template of a forward pass prints of a graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..model.architectures.graph import (
    Attention,
    Embed,
    Graph,
    Norm,
    Operation,
    Product,
    Sample,
    SwiGLU,
    Vector,
    WeightMatrix,
)
from .butterflies import Pass, passes_of
from .decisions import Decisions


@dataclass(frozen=True)
class OperationWords:
    """One statement of the network; the words that its kind does not use are empty."""

    embeds: bool
    normalises: bool
    ends: bool
    """It normalises, and does so after the last layer."""
    gains: bool
    """It normalises after the last layer, and multiplies by a gain that is no part of the matrix that follows."""
    multiplies: bool
    adds: bool
    """It multiplies, and adds to what is there."""
    attends: bool
    activates: bool
    begins: bool
    """A blank line stands before it."""
    input: str
    input_vectors: str
    """The same of all positions of a block."""
    output: str
    output_vectors: str
    is_operand: bool
    """The input is what products take, as it stands."""
    padded: str
    """From one position's input, or embedding, to the next one's."""
    half: str
    """From the first part of the input to the second."""
    matrix: str
    rows: str
    """Of the matrix, in whole blocks."""
    columns: str
    count: str
    """Positions of a block."""
    trace: str
    """The name of the output in traces; empty when there is none, or no trace."""
    traces_operand: bool
    traced: str
    """The values of the output, of the first position; the operand that a norm makes."""
    traced_count: str
    layer: str
    """For the trace."""


@dataclass(frozen=True)
class ProductWords:
    """A matrix of float32 that vectors are multiplied with."""

    name: str
    padded_call: str
    """Its name and parameters; those of layers line up."""
    layered: bool
    rows: str
    columns: str


@dataclass(frozen=True)
class GraphWords:
    """The operations of a graph, and its matrices."""

    before: Sequence[OperationWords]
    layer: Sequence[OperationWords]
    after: Sequence[OperationWords]
    matrices: Sequence[ProductWords]


@dataclass(frozen=True)
class Network:
    """The box of the network."""

    network: GraphWords
    query_trace: str
    """The name in traces of the queries that attention has turned."""
    key_trace: str
    tied: bool
    """The embedding is the classifier, too."""
    gain_is_mixed: bool
    """The channels of the vector are mixed before the last gain and mixed back after it: the gain belongs to the
    channels of the model."""
    gain_block: int
    """Channels that are mixed together."""
    gain_passes: Sequence[Pass]


def network(decided: Decisions) -> Network:
    """Fill the box."""
    model = decided.model
    attention = next(operation for operation in model.graph.operations if isinstance(operation, Attention))
    return Network(
        network=graph_words(
            model.graph,
            blocks=decided.blocks,
            last_count="rows" if decided.speculates else "1",
            gain=model.final_gain is not None,
            trace=decided.trace,
        ),
        query_trace=attention.query_trace,
        key_trace=attention.key_trace,
        tied=model.classifier is None,
        gain_is_mixed=model.gain_block > 1,
        gain_block=model.gain_block,
        gain_passes=passes_of(model.gain_block),
    )


_BLOCK_LOCALS = {"x": "residual", "h": "hidden"}
"""Vectors of which a block's function has a pointer, and what it calls the vectors of all positions."""


def graph_words(graph: Graph, *, blocks: bool, last_count: str, gain: bool, trace: bool) -> GraphWords:
    """Spell out a graph. `last_count` is how many of a block's positions the operations after the layers are for;
    `gain`: the norm after the layers multiplies by a gain.
    """

    def words(operations: Sequence[Operation], layer: str, count: str) -> list[OperationWords]:
        norms = [operation for operation in operations if isinstance(operation, Norm)]
        return [
            _operation(
                operation,
                graph,
                blocks=blocks,
                layer=layer,
                count=count,
                begins=operation in norms[1:],
                ends=operation in graph.after and not gain,
                gains=operation in graph.after and gain,
                trace=trace,
            )
            for operation in operations
            if not isinstance(operation, Sample)  # a function of its own
        ]

    return GraphWords(
        before=words(graph.before, "-1", "count"),
        layer=words(graph.layer, "(int)layer", "count"),
        after=words(graph.after, "-1", last_count),
        matrices=_matrices(graph),
    )


def _operation(
    operation: Operation,
    graph: Graph,
    *,
    blocks: bool,
    layer: str,
    count: str,
    begins: bool,
    ends: bool,
    gains: bool,
    trace: bool,
) -> OperationWords:
    if not isinstance(operation, Embed | Norm | Product | Attention | SwiGLU):
        raise NotImplementedError(f"the forward template has no {type(operation).__name__}")
    norm, product = isinstance(operation, Norm), operation if isinstance(operation, Product) else None
    vector = operation.output if isinstance(operation, Embed) else operation.input
    return OperationWords(
        embeds=isinstance(operation, Embed),
        normalises=norm and not gains,
        ends=norm and ends,
        gains=norm and gains,
        multiplies=product is not None and not product.adds,
        adds=product is not None and product.adds,
        attends=isinstance(operation, Attention),
        activates=isinstance(operation, SwiGLU),
        begins=begins,
        input=_pointer(vector),
        input_vectors=_vectors(vector),
        output=_pointer(operation.output),
        output_vectors=_vectors(operation.output),
        is_operand=_is_operand(vector, graph),
        padded=_padded(vector),
        half=_constant(vector.parts[0].name, "PADDED") if vector.apart else "",
        matrix="" if product is None else f"{product.matrix.name}({'layer' * product.matrix.layered})",
        rows="" if product is None else _rows(product),
        columns="" if product is None else product.matrix.columns.name.upper(),
        count=count,
        trace=(operation.trace or "") if trace else "",
        traces_operand=norm,
        traced=_traced(operation, blocks=blocks),
        traced_count=_width(operation),
        layer=layer,
    )


def _pointer(vector: Vector) -> str:
    return f"s->{vector.name}" if vector.kept else vector.name


def _vectors(vector: Vector) -> str:
    if vector.kept:
        return f"(vectors){{ s->{vector.name}, {_padded(vector)} }}"
    return _BLOCK_LOCALS.get(vector.name, vector.name)


def _traced(operation: Operation, *, blocks: bool) -> str:
    vector = operation.output
    pointed = vector.kept or not blocks or vector.name in _BLOCK_LOCALS
    return _pointer(vector) if pointed or isinstance(operation, Norm) else f"{vector.name}.values"


def _is_operand(vector: Vector, graph: Graph) -> bool:
    return any(isinstance(norm, Norm) and norm.output == vector for norm in graph.operations)


def _padded(vector: Vector) -> str:
    """The constant of what a vector takes: of its parts each, of the only one, or of all together."""
    if vector.apart:
        return f"{len(vector.parts)} * {_constant(vector.parts[0].name, 'PADDED')}"
    return _constant(vector.parts[0].name if len(vector.parts) == 1 else vector.name, "PADDED")


def _rows(product: Product) -> str:
    """The rows of a product's matrix in whole blocks; what they are added to may be longer, for its norm."""
    return _constant(product.output.parts[0].name, "ROWS") if product.adds else _padded(product.output)


def _width(operation: Operation) -> str:
    """The elements of what is traced: of the first part alone where an operation leaves its output there."""
    parts = operation.output.parts[:1] if isinstance(operation, SwiGLU) else operation.output.parts
    names = [part.name.upper() for part in parts]
    counts = {name: names.count(name) for name in names}
    return " + ".join(name if count == 1 else f"{count} * {name}" for name, count in counts.items())


def _constant(name: str, what: str) -> str:
    return f"{name.upper()}_{what}"


def _matrices(graph: Graph) -> list[ProductWords]:
    calls = {product: _call(product.matrix) for product in graph.products}
    width = max(len(call) for product, call in calls.items() if product.matrix.layered)
    return [
        ProductWords(
            product.matrix.name,
            call.ljust(width) if product.matrix.layered else call,
            product.matrix.layered,
            _rows(product),
            product.matrix.columns.name.upper(),
        )
        for product, call in calls.items()
    ]


def _call(matrix: WeightMatrix) -> str:
    return f"{matrix.name}({'size_t layer' if matrix.layered else 'void'})"
