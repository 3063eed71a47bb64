"""The graph of an architecture: its order, its names, and how long its vectors stay."""

from dataclasses import dataclass, replace

import pytest
from models import ODD, random_checkpoint

from llgen.codegen.model.architectures import graph_of
from llgen.codegen.model.architectures.graph import Attention, Graph, Norm, Operation, Product
from llgen.codegen.quantise.quantize import QuantModel, quantized
from llgen.codegen.reference.forward import Reference
from llgen.codegen.words.network import graph_words

TIED = replace(ODD, tied=True, n_layers=2)
LAYER = [
    "attn_norm.weight",
    "attn_q.weight",
    "attn_k.weight",
    "attn_v.weight",
    "attn_output.weight",
    "ffn_norm.weight",
    "ffn_gate.weight",
    "ffn_up.weight",
    "ffn_down.weight",
]


def test_tensors_are_those_of_llama_in_the_order_of_their_use():
    layers = [f"blk.{layer}.{name}" for layer in range(2) for name in LAYER]
    names = [tensor.name.gguf for tensor in graph_of(TIED).tensors()]
    assert names == ["token_embd.weight", *layers, "output_norm.weight"]
    untied = [tensor.name for tensor in graph_of(replace(TIED, tied=False)).tensors()]
    assert [name.gguf for name in untied] == [*names, "output.weight"]
    assert untied[-1].huggingface == "lm_head.weight"


def test_shapes_are_those_of_the_dimensions():
    shapes = {tensor.name.huggingface: tensor.shape for tensor in graph_of(ODD).tensors()}
    assert shapes["model.embed_tokens.weight"] == (301, 36)
    assert shapes["model.layers.0.self_attn.k_proj.weight"] == (12, 36)
    assert shapes["model.layers.0.mlp.down_proj.weight"] == (36, 172)
    assert graph_of(ODD).matrix("wqkv.0").shape == (60, 36)


def test_rope_turns_queries_and_keys():
    assert graph_of(ODD).rotated == {f"model.layers.0.self_attn.{letter}_proj.weight" for letter in "qk"}


def test_matrices_of_all_layers_are_named_once_each():
    layers = [f"{name}.{layer}" for layer in range(2) for name in ("wqkv", "wo", "w13", "w2")]
    assert [name for name, _, _ in graph_of(TIED).each_matrix()] == ["embedding", *layers]
    assert [name for name, _, _ in graph_of(replace(TIED, tied=False)).each_matrix()][-1] == "classifier"


@pytest.mark.parametrize("tied", [True, False])
def test_a_gain_is_folded_or_stands_by_itself(tied):
    """Each norm's gain is part of the next matrix, except where that matrix is looked up too."""
    graph = graph_of(replace(ODD, tied=tied))
    for norm, product in zip(graph.operations, graph.operations[1:], strict=False):
        if isinstance(norm, Norm):
            assert isinstance(product, Product)
            assert (product.matrix.gain is norm.gain) == norm.folded
    assert (graph.own_gain is not None) == tied
    assert graph.only_looked_up == (set() if tied else {"embedding"})
    assert graph.classifier.name == ("embedding" if tied else "classifier")


@pytest.mark.parametrize("config", [ODD, TIED])
def test_every_vector_is_written_before_it_is_read_and_fits_its_readers(config):
    graph = graph_of(config)
    written = {}
    for operation, _ in graph.walk():
        for vector in operation.inputs:
            assert written[vector.name] == vector.size, operation.name
        if isinstance(operation, Product):
            read = operation.input.parts[0] if operation.input.apart else operation.input
            assert operation.matrix.columns.size == read.size, operation.name
            assert operation.matrix.rows == operation.output.size, operation.name
        if isinstance(operation, Attention):
            assert operation.output.size == operation.heads * operation.head_dim
        written[operation.output.name] = operation.output.size


def test_vectors_stay_from_their_first_writer_to_their_last_reader():
    graph = graph_of(ODD)
    vectors = {operation.output.name: operation.output for operation in graph.operations}
    names = [operation.name for operation in graph.operations]
    spans = {name: tuple(names[step] for step in graph.span(vector)) for name, vector in vectors.items()}
    assert spans == {
        "x": ("embed", "final_norm"),
        "n": ("attention_norm", "classify"),
        "qkv": ("wqkv", "attend"),
        "mixed": ("attend", "wo"),
        "h": ("w13", "w2"),
        "logits": ("classify", "sample"),
        "odds": ("sample", "sample"),
    }


def test_a_vector_that_the_next_layer_reads_stays_for_all_layers():
    graph = graph_of(ODD)
    first, last = graph.layer[0], graph.layer[-1]
    carried = replace(last.output, name="carried")
    looped = replace(
        graph,
        layer=(replace(first, inputs=(carried,)), *graph.layer[1:-1], replace(last, output=carried)),
        after=graph.after[1:],
    )
    assert looped.span(carried) == (1, len(graph.layer))


@dataclass(frozen=True, kw_only=True)
class Doubled(Operation):
    """A kind of operation that nothing knows."""


def with_unknown_operation() -> Graph:
    graph = graph_of(ODD)
    x = graph.before[0].output
    unknown = Doubled(name="doubled", inputs=(x,), output=x)
    return replace(graph, before=(*graph.before, unknown))


def test_a_kind_of_operation_without_a_statement_is_refused():
    with pytest.raises(NotImplementedError, match="the forward template has no Doubled"):
        graph_words(with_unknown_operation(), blocks=False, last_count="1", gain=False, trace=False)


def test_a_kind_of_operation_that_the_reference_does_not_compute_is_refused(monkeypatch):
    reference = Reference(quantized(random_checkpoint()))
    monkeypatch.setattr(QuantModel, "graph", with_unknown_operation())
    with pytest.raises(NotImplementedError, match="the reference has no Doubled"):
        reference.feed([1])


def test_operations_are_spelt_out_in_their_order():
    words = graph_words(graph_of(ODD), blocks=True, last_count="rows", gain=False, trace=True)
    traces = [each.trace for each in (*words.before, *words.layer, *words.after)]
    assert traces == [
        "embedding",
        "attention_norm",
        "qkv",
        "attention",
        "attention_residual",
        "ffn_norm",
        "",
        "swiglu",
        "ffn_residual",
        "final_norm",
        "logits",
    ]
    products = [each for each in (*words.layer, *words.after) if each.multiplies or each.adds]
    assert [(each.matrix, each.rows, each.columns) for each in products] == [
        ("wqkv(layer)", "QKV_PADDED", "DIM"),
        ("wo(layer)", "DIM_ROWS", "Q_DIM"),
        ("w13(layer)", "2 * HIDDEN_PADDED", "DIM"),
        ("w2(layer)", "DIM_ROWS", "HIDDEN"),
        ("classifier()", "VOCAB_PADDED", "DIM"),
    ]
