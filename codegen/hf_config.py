"""Hugging Face's `config.json` of a Llama, to and from a ModelConfig."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .config import ModelConfig
from .errors import LlgenError

_ARCHITECTURE = "LlamaForCausalLM"
"""Older files spell it LLaMAForCausalLM."""


def config_from_hf(raw: Mapping[str, Any], path: Path) -> ModelConfig:
    """Translate Hugging Face's `config.json`; `path` is for messages.

    Raises LlgenError for a missing key or a feature that generated code would silently lack.
    """
    expected = {"model_type": "llama", "hidden_act": "silu", "attention_bias": False, "mlp_bias": False}
    for key, value in expected.items():
        if raw.get(key, value) != value:
            raise LlgenError(f"'{path}' has {key} = {raw[key]!r}; llgen supports {value!r} only")
    classes = raw.get("architectures") or []
    if not isinstance(classes, list) or any(str(name).lower() != _ARCHITECTURE.lower() for name in classes):
        raise LlgenError(f"'{path}' has architectures = {classes!r}; llgen supports {_ARCHITECTURE!r} only")
    rope, scaling = (raw.get(key) or {} for key in ("rope_parameters", "rope_scaling"))
    if not isinstance(rope, dict) or not isinstance(scaling, dict):
        raise LlgenError(f"'{path}' has rope_parameters or rope_scaling that are no JSON object")
    kind = scaling.get("rope_type") or scaling.get("type") or rope.get("rope_type") or "default"
    if kind != "default":
        raise LlgenError(f"'{path}' has RoPE scaling of type '{kind}'; llgen supports unscaled RoPE only")

    def whole(key: str, default: int | None = None) -> int:
        value = raw.get(key, default)
        if value is None and default is not None:
            value = default
        if key == "eos_token_id" and isinstance(value, list) and value:
            value = value[0]  # several end tokens: generation stops at the first alone
        if not isinstance(value, int) or isinstance(value, bool):
            raise LlgenError(f"'{path}' has {key} = {value!r}; it must be a whole number")
        return value

    def real(key: str, value: Any) -> float:
        # Not float(): it takes text too. The bound keeps whole numbers beyond a float's range out.
        if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) < 1e30:
            raise LlgenError(f"'{path}' has {key} = {value!r}; it must be a number")
        return float(value)

    tied = raw.get("tie_word_embeddings", False)
    if not isinstance(tied, bool):
        raise LlgenError(f"'{path}' has tie_word_embeddings = {tied!r}; it must be true or false")
    theta = next((place["rope_theta"] for place in (rope, raw) if place.get("rope_theta") is not None), 10000.0)
    heads = whole("num_attention_heads")
    dim = whole("hidden_size")
    if heads <= 0:
        raise LlgenError(f"'{path}' has num_attention_heads = {heads}; it must be at least 1")
    if raw.get("head_dim") is None and dim % heads:
        raise LlgenError(f"'{path}': hidden_size {dim} is not divisible by num_attention_heads {heads}")
    return ModelConfig(
        dim=dim,
        hidden_dim=whole("intermediate_size"),
        n_layers=whole("num_hidden_layers"),
        n_heads=heads,
        n_kv_heads=whole("num_key_value_heads", heads),
        head_dim=whole("head_dim", dim // heads),
        vocab_size=whole("vocab_size"),
        max_seq_len=whole("max_position_embeddings", 2048),
        norm_eps=real("rms_norm_eps", raw.get("rms_norm_eps", 1e-6)),
        rope_theta=real("rope_theta", theta),
        tied=tied,
        bos_id=whole("bos_token_id", 1),
        eos_id=whole("eos_token_id", 2),
    )


def config_to_hf(config: ModelConfig) -> dict[str, Any]:
    """What stands in a `config.json`."""
    return {
        "architectures": [_ARCHITECTURE],
        "attention_bias": False,
        "bos_token_id": config.bos_id,
        "dtype": "float32",
        "eos_token_id": config.eos_id,
        "head_dim": config.head_dim,
        "hidden_act": "silu",
        "hidden_size": config.dim,
        "intermediate_size": config.hidden_dim,
        "max_position_embeddings": config.max_seq_len,
        "mlp_bias": False,
        "model_type": "llama",
        "num_attention_heads": config.n_heads,
        "num_hidden_layers": config.n_layers,
        "num_key_value_heads": config.n_kv_heads,
        "rms_norm_eps": config.norm_eps,
        "rope_theta": config.rope_theta,
        "tie_word_embeddings": config.tied,
        "torch_dtype": "float32",  # what transformers called dtype before 4.56
        "vocab_size": config.vocab_size,
    }
