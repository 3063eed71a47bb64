"""Integer matrices in words: where each one begins in the arrays of its kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..model.architectures.graph import Graph
from ..pack.weights import Packed


@dataclass(frozen=True)
class MatrixWords:
    """An integer matrix of each layer, or of the whole model."""

    name: str
    layered: bool
    places: Sequence[str]
    """Where a layer's weights, scales and multipliers begin in the arrays of their kind."""
    numbers: int
    """Numbers of a place."""
    has_multipliers: bool
    """The matrix of some layer has multipliers."""
    always_multipliers: bool
    """The matrices of all layers have them."""
    tells_bits: bool
    """Matrices of several forms with groups are told apart by their bits."""
    bits: int
    """Bits of the one matrix of a kind without layers."""


def matrix_words(packed: Packed, graph: Graph, *, tells_bits: bool) -> list[MatrixWords]:
    """The integer matrices of a model, in the order of the graph."""
    words = []
    for kind, places in packed.places.items():
        grouped = [place.multipliers is not None for place in places]
        rows = []
        for place in places:
            numbers = [str(place.weights), str(place.scales)]
            if any(grouped):
                numbers.append("NO_MULTIPLIERS" if place.multipliers is None else str(place.multipliers))
                numbers += [str(place.bits)] * tells_bits
            rows.append(", ".join(numbers))
        words.append(
            MatrixWords(
                kind,
                graph.matrices[kind].layered,
                rows,
                2 + any(grouped) * (1 + tells_bits),
                any(grouped),
                all(grouped),
                tells_bits,
                places[0].bits,
            )
        )
    return words
