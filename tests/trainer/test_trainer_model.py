"""The PyTorch Llama against a forward pass written out in float64, against the graph, and against itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
import torch
from models import SCALINGS

from llgen.codegen.model import spec
from llgen.codegen.model.architectures import tensor_shapes
from llgen.codegen.model.architectures.graph import Attention, Norm
from llgen.codegen.model.checkpoint import Checkpoint
from llgen.codegen.model.config import ModelConfig
from llgen.codegen.model.rope import RopeScaling, TableScaling
from llgen.codegen.quantise.quantize import quantized
from llgen.codegen.reference.forward import Reference
from llgen.errors import LlgenError
from llgen.trainer.model import Block, Cache, Llama, rope_tables
from llgen.trainer.operators import cross_entropy, rotate

Array = npt.NDArray[np.float64]

ODD = ModelConfig(
    dim=30, hidden_dim=172, n_layers=1, n_heads=6, n_kv_heads=2, head_dim=6, vocab_size=301, max_seq_len=24, tied=False
)
TIED = ModelConfig(
    dim=16, hidden_dim=20, n_layers=2, n_heads=4, n_kv_heads=4, head_dim=4, vocab_size=40, max_seq_len=16
)
SCALED = replace(ODD, rope_scaling=TableScaling((1.0, 1.5, 6.0), 1.25))


def random_checkpoint(config: ModelConfig, seed: int = 0) -> Checkpoint:
    generator = np.random.default_rng(seed)
    tensors = {
        name: generator.normal(1.0 if len(shape) == 1 else 0.0, 0.3, shape).astype(np.float32)
        for name, shape in tensor_shapes(config).items()
    }
    return Checkpoint("random", config, tensors, None)


def reference_logits(checkpoint: Checkpoint, tokens: list[int]) -> Array:
    """[time, vocab], one position and one head at a time: slow, and hard to get wrong."""
    config = checkpoint.config
    weights = {name: tensor.astype(np.float64) for name, tensor in checkpoint.tensors.items()}
    scaling = config.rope_scaling
    divisors, amplitude = (scaling.factors, scaling.attention_factor) if isinstance(scaling, TableScaling) else (1, 1)

    def norm(x: Array, gain: Array) -> Array:
        return x / np.sqrt((x * x).mean() + config.norm_eps) * gain

    def turn(head: Array, position: int) -> Array:
        half = config.head_dim // 2
        angles = position * config.rope_theta ** (-2.0 * np.arange(half) / config.head_dim) / divisors
        turned = (head[:half] + 1j * head[half:]) * np.exp(1j * angles) * amplitude
        return np.concatenate((turned.real, turned.imag))

    stream = [weights["model.embed_tokens.weight"][token] for token in tokens]
    for layer in range(config.n_layers):
        prefix = f"model.layers.{layer}."
        w = {name.removeprefix(prefix): tensor for name, tensor in weights.items() if name.startswith(prefix)}
        keys: list[Array] = []
        values: list[Array] = []
        for position, x in enumerate(stream):
            h = norm(x, w["input_layernorm.weight"])
            queries = (w["self_attn.q_proj.weight"] @ h).reshape(config.n_heads, config.head_dim)
            new_keys = (w["self_attn.k_proj.weight"] @ h).reshape(config.n_kv_heads, config.head_dim)
            keys.append(np.stack([turn(key, position) for key in new_keys]))
            values.append((w["self_attn.v_proj.weight"] @ h).reshape(config.n_kv_heads, config.head_dim))
            mixed = []
            for index, query in enumerate(queries):
                group = index * config.n_kv_heads // config.n_heads
                scores = np.array([turn(query, position) @ key[group] for key in keys]) / np.sqrt(config.head_dim)
                shares = np.exp(scores - scores.max())
                shares /= shares.sum()
                mixed.append(sum(share * value[group] for share, value in zip(shares, values, strict=True)))
            x = x + w["self_attn.o_proj.weight"] @ np.concatenate(mixed)
            h = norm(x, w["post_attention_layernorm.weight"])
            gate = w["mlp.gate_proj.weight"] @ h
            stream[position] = x + w["mlp.down_proj.weight"] @ (
                gate / (1 + np.exp(-gate)) * (w["mlp.up_proj.weight"] @ h)
            )
    classifier = weights["model.embed_tokens.weight" if config.tied else "lm_head.weight"]
    return np.stack([classifier @ norm(x, weights["model.norm.weight"]) for x in stream])


@pytest.mark.parametrize("config", [ODD, TIED, SCALED], ids=["odd sizes, untied", "tied", "scaled rotation"])
def test_agrees_with_a_float64_forward_pass(config: ModelConfig) -> None:
    checkpoint = random_checkpoint(config)
    tokens = [int(token) for token in np.random.default_rng(1).integers(config.vocab_size, size=config.max_seq_len)]
    logits = Llama.from_checkpoint(checkpoint)(torch.tensor([tokens]))
    expected = reference_logits(checkpoint, tokens)
    np.testing.assert_allclose(logits[0].detach().numpy(), expected, rtol=2e-4, atol=2e-4 * np.abs(expected).max())


def test_cross_entropy_is_the_mean_over_all_tokens() -> None:
    logits = Llama.from_checkpoint(random_checkpoint(TIED))(torch.tensor([[3, 1, 4, 1], [5, 9, 2, 6]]))
    targets = torch.tensor([[1, 4, 1, 5], [9, 2, 6, 5]])
    chosen = logits.log_softmax(-1).gather(-1, targets[..., None])
    torch.testing.assert_close(cross_entropy(logits, targets), -chosen.mean())


def test_dropout_acts_in_training_alone() -> None:
    model = Llama.from_checkpoint(random_checkpoint(TIED), dropout=0.5)
    tokens = torch.tensor([[3, 1, 4]])
    assert torch.equal(model.eval()(tokens), Llama.from_checkpoint(random_checkpoint(TIED))(tokens))
    assert not torch.equal(model.train()(tokens), model(tokens))


@pytest.mark.parametrize("config", [ODD, TIED], ids=["odd sizes, untied", "tied"])
def test_steps_through_the_cache_equal_the_whole(config: ModelConfig) -> None:
    model = Llama.from_checkpoint(random_checkpoint(config))
    tokens = torch.arange(12)[None] % config.vocab_size
    whole = model(tokens)
    cache = Cache.empty(config)
    with torch.inference_mode():
        parts = [model(part, cache) for part in tokens.split([5, 1, 4, 1, 1], dim=1)]
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, rtol=1e-4, atol=1e-4)


def test_state_dict_has_the_names_and_shapes_of_hugging_face() -> None:
    for config in (ODD, TIED):
        shapes = {name: tuple(tensor.shape) for name, tensor in Llama(config).state_dict().items()}
        assert shapes == tensor_shapes(config)


def traced_by_the_graph(checkpoint: Checkpoint, tokens: list[int]) -> dict[tuple[str, int], Array]:
    """Every vector that the graph traces, by its name and layer, before gains and scales are folded."""
    model = quantized(checkpoint)
    graph = model.graph
    norms = {operation.trace: operation for operation in graph.operations if isinstance(operation, Norm)}
    found: dict[tuple[str, int], Array] = {}

    def observe(tensor: str, layer: int, values: npt.NDArray[np.float32]) -> None:
        norm = norms.get(tensor)
        if norm is not None and norm.folded:
            values = values * checkpoint.tensors[norm.gain.name.of(layer).huggingface]
        found[tensor, layer] = values.astype(np.float64)

    Reference(model, observe).feed(tokens)
    attention = next(operation for operation in graph.layer if isinstance(operation, Attention))
    queries = model.config.q_dim
    for (tensor, _), values in found.items():
        if tensor == attention.query_trace:
            values *= np.sqrt(model.config.head_dim)
        elif tensor == graph.layer[graph.layer.index(attention) - 1].trace:
            values[:, :queries] *= np.sqrt(model.config.head_dim)
    named = {operation.trace for operation in graph.operations if operation.trace}
    assert {tensor for tensor, _ in found} == named | {attention.query_trace, attention.key_trace}
    return found


def traced_by_pytorch(checkpoint: Checkpoint, tokens: list[int]) -> dict[tuple[str, int], Array]:
    """The same from the modules of the model."""
    config = checkpoint.config
    model = Llama.from_checkpoint(checkpoint).eval()
    found: dict[tuple[str, int], torch.Tensor] = {}

    def keep(module: torch.nn.Module, name: str, layer: int = -1, *, of_input: bool = False) -> None:
        def hook(_: torch.nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
            found[name, layer] = (inputs[0] if of_input else output)[0]

        module.register_forward_hook(hook)

    keep(model.model.embed_tokens, "embedding")
    for layer, block in enumerate(model.model.layers):
        assert isinstance(block, Block)
        keep(block.input_layernorm, "attention_norm", layer)
        for letter in "qkv":
            keep(getattr(block.self_attn, f"{letter}_proj"), letter, layer)
        keep(block.self_attn.o_proj, "attention", layer, of_input=True)
        keep(block.post_attention_layernorm, "attention_residual", layer, of_input=True)
        keep(block.post_attention_layernorm, "ffn_norm", layer)
        keep(block.mlp.down_proj, "swiglu", layer, of_input=True)
        keep(block, "ffn_residual", layer)
    keep(model.model.norm, "final_norm")
    keep(model, "logits")
    with torch.inference_mode():
        model(torch.tensor([tokens]))
    cos, sin = (table[: len(tokens), None] for table in (model.rope_cos, model.rope_sin))
    for layer in range(config.n_layers):
        q, k, v = (found.pop((letter, layer)) for letter in "qkv")
        found["qkv", layer] = torch.cat([q, k, v], dim=-1)
        for name, part in (("query", q), ("key", k)):
            heads = part.reshape(len(tokens), -1, config.head_dim)
            found[name, layer] = rotate(heads, cos, sin).reshape(len(tokens), -1)
    return {key: tensor.double().numpy() for key, tensor in found.items()}


@pytest.mark.parametrize("scaling", SCALINGS.values(), ids=SCALINGS)
def test_scaled_tables_are_those_of_the_contract(scaling: RopeScaling) -> None:
    config = replace(ODD, rope_scaling=scaling)
    for ours, contracts in zip(rope_tables(config), spec.rope_tables(config, config.max_seq_len), strict=True):
        np.testing.assert_allclose(ours.numpy(), contracts, rtol=2e-7)


@pytest.mark.parametrize("config", [ODD, TIED, SCALED], ids=["odd sizes, untied", "tied", "scaled rotation"])
def test_the_forward_pass_makes_every_vector_that_the_graph_traces(config: ModelConfig) -> None:
    """The network stands twice, as a graph and in PyTorch: by name and layer, both make the same vectors."""
    checkpoint = random_checkpoint(config)
    tokens = [int(token) for token in np.random.default_rng(1).integers(config.vocab_size, size=9)]
    expected, found = traced_by_the_graph(checkpoint, tokens), traced_by_pytorch(checkpoint, tokens)
    assert found.keys() == expected.keys()
    for key, values in expected.items():
        tolerance = 1e-4 * np.abs(values).max()
        np.testing.assert_allclose(found[key], values, rtol=1e-4, atol=tolerance, err_msg=str(key))


def test_checkpoint_round_trip_keeps_every_bit() -> None:
    checkpoint = random_checkpoint(ODD)
    back = Llama.from_checkpoint(checkpoint).to_checkpoint("random", None)
    assert back.sha256 == checkpoint.sha256


def test_to_checkpoint_copies() -> None:
    model = Llama(TIED)
    checkpoint = model.to_checkpoint("copy", None)
    before = checkpoint.sha256
    with torch.no_grad():
        model.model.norm.weight.add_(1.0)
    assert checkpoint.sha256 == before


def test_initialisation_scales_the_residual_projections() -> None:
    torch.manual_seed(0)
    config = ModelConfig(64, 172, 8, 8, 4, 8, 512, 32)
    state = Llama(config).state_dict()
    assert state["model.layers.3.self_attn.q_proj.weight"].std() == pytest.approx(0.05, rel=0.05)
    for name in ("self_attn.o_proj", "mlp.down_proj"):
        assert state[f"model.layers.3.{name}.weight"].std() == pytest.approx(0.05 / 4, rel=0.05)
    assert bool((state["model.norm.weight"] == 1).all())


def test_too_many_positions_are_refused() -> None:
    model = Llama(TIED)
    with pytest.raises(LlgenError, match="17 positions; the model was made for 16"):
        model(torch.zeros(1, 17, dtype=torch.long))
