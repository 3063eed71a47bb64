"""Llama: RMSNorm, attention with RoPE, and a feed-forward layer with SwiGLU, each added to the residual stream.

Names are those of Hugging Face's transformers and of llama.cpp's converter (github.com/ggml-org/llama.cpp,
gguf-py/gguf/constants.py).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from .graph import (
    Attention,
    Dimension,
    Embed,
    Gain,
    Graph,
    Mixing,
    Norm,
    Part,
    Product,
    Sample,
    SwiGLU,
    TensorName,
    Vector,
    WeightMatrix,
)

if TYPE_CHECKING:
    from ..config import ModelConfig


def graph(config: ModelConfig) -> Graph:
    """The network of a configuration."""
    dim = Dimension("dim", config.dim, Mixing.STREAM)
    queries = Dimension("q_dim", config.q_dim)
    keys = Dimension("kv_dim", config.kv_dim)
    values = Dimension("kv_dim", config.kv_dim, Mixing.HEADS)
    attended = Dimension("q_dim", config.q_dim, Mixing.HEADS)
    hidden = Dimension("hidden", config.hidden_dim)
    vocabulary = Dimension("vocab", config.vocab_size)

    attention_gain = Gain(_in_layer("input_layernorm", "attn_norm"), dim)
    ffn_gain = Gain(_in_layer("post_attention_layernorm", "ffn_norm"), dim)
    final_gain = Gain(TensorName("model.norm.weight", "output_norm.weight"), dim)

    token = Part("tokens", TensorName("model.embed_tokens.weight", "token_embd.weight"), vocabulary)
    embedding = WeightMatrix("embedding", (token,), dim, layered=False)
    classifier = embedding
    if not config.tied:
        choice = Part("tokens", TensorName("lm_head.weight", "output.weight"), vocabulary)
        classifier = WeightMatrix("classifier", (choice,), dim, layered=False, gain=final_gain)

    query = _in_layer("self_attn.q_proj", "attn_q")
    wqkv = WeightMatrix(
        "wqkv",
        (
            Part("queries", query, queries, scale=1.0 / math.sqrt(config.head_dim), rotated=True),
            Part("keys", _in_layer("self_attn.k_proj", "attn_k"), keys, rotated=True),
            Part("values", _in_layer("self_attn.v_proj", "attn_v"), values),
        ),
        dim,
        gain=attention_gain,
    )
    wo = WeightMatrix("wo", (Part("output", _in_layer("self_attn.o_proj", "attn_output"), dim),), attended)
    w13 = WeightMatrix(
        "w13",
        (
            Part("gate", _in_layer("mlp.gate_proj", "ffn_gate"), hidden),
            Part("up", _in_layer("mlp.up_proj", "ffn_up"), hidden),
        ),
        dim,
        gain=ffn_gain,
        apart=True,
    )
    w2 = WeightMatrix("w2", (Part("down", _in_layer("mlp.down_proj", "ffn_down"), dim),), hidden)

    x = Vector("x", (dim,))
    n = Vector("n", (dim,))
    qkv = Vector("qkv", (queries, keys, values))
    mixed = Vector("mixed", (attended,))
    h = Vector("h", (hidden, hidden), apart=True)
    logits = Vector("logits", (vocabulary,), kept=True)
    odds = Vector("odds", (vocabulary,))

    return Graph(
        before=(Embed(name="embed", matrix=embedding, output=x, trace="embedding"),),
        layer=(
            Norm(name="attention_norm", inputs=(x,), output=n, gain=attention_gain, trace="attention_norm"),
            Product(name="wqkv", inputs=(n,), matrix=wqkv, output=qkv, trace="qkv"),
            Attention(
                name="attend",
                inputs=(qkv,),
                output=mixed,
                heads=config.n_heads,
                kv_heads=config.n_kv_heads,
                head_dim=config.head_dim,
                query_trace="query",
                key_trace="key",
                trace="attention",
            ),
            Product(name="wo", inputs=(mixed, x), matrix=wo, output=x, adds=True, trace="attention_residual"),
            Norm(name="ffn_norm", inputs=(x,), output=n, gain=ffn_gain, trace="ffn_norm"),
            Product(name="w13", inputs=(n,), matrix=w13, output=h),
            SwiGLU(name="swiglu", inputs=(h,), output=h, trace="swiglu"),
            Product(name="w2", inputs=(h, x), matrix=w2, output=x, adds=True, trace="ffn_residual"),
        ),
        after=(
            Norm(name="final_norm", inputs=(x,), output=n, gain=final_gain, folded=not config.tied, trace="final_norm"),
            Product(name="classify", inputs=(n,), matrix=classifier, output=logits, trace="logits"),
            Sample(name="sample", inputs=(logits,), output=odds),
        ),
        n_layers=config.n_layers,
    )


def _in_layer(module: str, gguf: str) -> TensorName:
    return TensorName("model.layers.{layer}." + module + ".weight", "blk.{layer}." + gguf + ".weight")
