"""What llama.cpp calls the tensors and the metadata of a Llama model.

Names and meanings are those of its converter and loader (github.com/ggml-org/llama.cpp, gguf-py/gguf/constants.py). As
llama2.c, it rotates pairs 2i and 2i + 1: the rows of wq and wk are in interleaved order (rope_rows.py).
"""

from __future__ import annotations

from ..config import ModelConfig

ARCHITECTURE = "llama"

_OUTER = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}
_LAYER = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def gguf_names(config: ModelConfig) -> dict[str, str]:
    """Hugging Face's name of every tensor, in the order of storage, to its name in GGUF."""
    return {name: _gguf_name(name) for name in config.tensor_shapes()}


def _gguf_name(name: str) -> str:
    if name in _OUTER:
        return _OUTER[name]
    layer, _, module = name.removeprefix("model.layers.").removesuffix(".weight").partition(".")
    return f"blk.{layer}.{_LAYER[module]}.weight"
