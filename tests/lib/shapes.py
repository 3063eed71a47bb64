"""Models of odd shapes for property tests, chosen by hypothesis."""

from __future__ import annotations

from hypothesis import strategies as st

from llgen.codegen.model.config import ModelConfig


@st.composite
def odd_configs(draw: st.DrawFn, *, llama2c: bool = False) -> ModelConfig:
    """Grouped heads, heads whose width is an odd multiple of 2, tied and not; `llama2c`: what its files can say."""
    n_kv_heads = draw(st.integers(1, 3))
    n_heads = n_kv_heads * draw(st.integers(1, 3))
    head_dim = 2 * draw(st.sampled_from([1, 2, 3, 5]))
    return ModelConfig(
        dim=n_heads * head_dim if llama2c else draw(st.integers(1, 40)),
        hidden_dim=draw(st.integers(1, 70)),
        n_layers=draw(st.integers(1, 3)),
        n_heads=n_heads,
        n_kv_heads=n_kv_heads,
        head_dim=head_dim,
        vocab_size=draw(st.integers(3, 80)),
        max_seq_len=draw(st.integers(4, 16)),
        norm_eps=1e-5 if llama2c else draw(st.sampled_from([1e-5, 1e-6])),
        rope_theta=10000.0 if llama2c else draw(st.sampled_from([10000.0, 500000.0, 1234.5])),
        tied=draw(st.booleans()),
    )
