"""Hugging Face's `config.json` of a Llama, to and from a ModelConfig."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llgen.errors import LlgenError
from llgen.shown import shown_value

from ...model.config import ModelConfig
from .keys import require_plain_llama
from .rope import rotation_from_hf, scaling_to_hf

_ARCHITECTURE = "LlamaForCausalLM"
"""Older files spell it LLaMAForCausalLM."""

_SILU = ("silu", "swish")
"""Two names of one function."""

_PRECISIONS = ("float32", "float16", "bfloat16", "float64")


def config_from_hf(raw: Mapping[str, Any], path: Path) -> ModelConfig:
    """Translate Hugging Face's `config.json`, except its tokens, which depend on other files, too.

    Messages name `path`.

    The result describes what transformers would compute (keys.py). Raises LlgenError for a missing key, a value of
    another type, and a key that asks for a computation that the generated code lacks.
    """
    if raw.get("model_type", "llama") != "llama":
        raise LlgenError(f"'{path}' has model_type = {shown_value(raw['model_type'])}; llgen supports 'llama' only")
    if raw.get("hidden_act", "silu") not in _SILU:
        raise LlgenError(f"'{path}' has hidden_act = {shown_value(raw['hidden_act'])}; llgen supports 'silu' only")
    classes = raw.get("architectures") or []
    if not isinstance(classes, list) or any(str(name).lower() != _ARCHITECTURE.lower() for name in classes):
        raise LlgenError(f"'{path}' has architectures = {shown_value(classes)}; llgen supports {_ARCHITECTURE!r} only")
    require_plain_llama(raw, path)
    named_precision(raw, path)

    def whole(key: str, default: int | None = None) -> int:
        value = raw.get(key, default)
        if value is None and default is not None:
            value = default
        if not isinstance(value, int) or isinstance(value, bool):
            raise LlgenError(f"'{path}' has {key} = {shown_value(value)}; it must be an integer")
        return value

    tied = raw.get("tie_word_embeddings", False)
    if not isinstance(tied, bool):
        raise LlgenError(f"'{path}' has tie_word_embeddings = {shown_value(tied)}; it must be true or false")
    heads = whole("num_attention_heads")
    dim = whole("hidden_size")
    if heads <= 0:
        raise LlgenError(f"'{path}' has num_attention_heads = {shown_value(heads)}; it must be at least 1")
    if raw.get("head_dim") is None and dim % heads:
        raise LlgenError(
            f"'{path}': hidden_size {shown_value(dim)} is not divisible by num_attention_heads {shown_value(heads)}"
        )
    if raw.get("head_dim") is None and dim // heads % 2:
        raise LlgenError(
            f"'{path}': hidden_size {dim} and num_attention_heads {heads} make heads of {dim // heads};"
            " RoPE rotates pairs, so it must be even"
        )
    rotation = rotation_from_hf(raw, path)
    return _config(
        path,
        rotation.where,
        dim=dim,
        hidden_dim=whole("intermediate_size"),
        n_layers=whole("num_hidden_layers"),
        n_heads=heads,
        n_kv_heads=whole("num_key_value_heads", heads),
        head_dim=whole("head_dim", dim // heads),
        vocab_size=whole("vocab_size"),
        max_seq_len=whole("max_position_embeddings", 2048),
        norm_eps=_real("rms_norm_eps", raw.get("rms_norm_eps", 1e-6), path),
        rope_theta=rotation.theta,
        rope_scaling=rotation.scaling,
        tied=tied,
        bos_id=None,
        end_ids=(),
    )


_NAMES = {
    "dim": "hidden_size",
    "hidden_dim": "intermediate_size",
    "n_layers": "num_hidden_layers",
    "n_heads": "num_attention_heads",
    "n_kv_heads": "num_key_value_heads",
    "max_seq_len": "max_position_embeddings",
    "norm_eps": "rms_norm_eps",
    "bos_id": "bos_token_id",
    "end_ids": "eos_token_id",
}
"""A ModelConfig's fields that config.json calls otherwise."""


def _config(path: Path, rotation: str, **fields: Any) -> ModelConfig:
    """Make a ModelConfig; an error about a field names the file and the key of config.json.

    `rotation` is the key that says how RoPE is scaled.
    """
    names = _NAMES | {"rope_scaling": rotation}
    try:
        return ModelConfig(**fields)
    except LlgenError as error:
        words = re.sub(r"\w+", lambda word: names.get(word[0], word[0]), error.message)
        raise LlgenError(f"'{path}': {words}", error.hint) from error


def named_precision(raw: Mapping[str, Any], path: Path) -> str | None:
    """The number type in a config.json, to which transformers rounds the weights; None when there is none.

    Raises LlgenError for a value that is not a floating-point type.
    """
    key = "torch_dtype" if raw.get("dtype") is None else "dtype"
    value = raw.get(key)
    if value is None:
        return None
    if value not in _PRECISIONS:
        raise LlgenError(
            f"'{path}' has {key} = {shown_value(value)}; llgen supports {', '.join(_PRECISIONS)}",
            "save the model in one of these",
        )
    return str(value)


def _real(key: str, value: Any, path: Path) -> float:
    # Not float(), which also takes text. The bound refuses integers beyond the range of a float.
    if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) < 1e30:
        raise LlgenError(f"'{path}' has {key} = {shown_value(value)}; it must be a number")
    return float(value)


def token_ids(raw: Mapping[str, Any], key: str, path: Path) -> tuple[int, ...] | None:
    """The tokens under `key`, an id or a list of ids; None when the key is absent, an empty result for null.

    Raises LlgenError for anything else.
    """
    if key not in raw:
        return None
    value = raw[key]
    listed = [] if value is None else value if isinstance(value, list) else [value]
    if not all(isinstance(token, int) and not isinstance(token, bool) for token in listed):
        raise LlgenError(f"'{path}' has {key} = {shown_value(value)}; it must be an integer or a list of integers")
    return tuple(listed)


def config_to_hf(config: ModelConfig) -> dict[str, Any]:
    """The content of a `config.json`. eos_token_id omits the token that begins a text: it ends one, too."""
    ends = [token for token in config.end_ids if token != config.bos_id] or list(config.end_ids)
    scaling = config.rope_scaling
    return {
        "architectures": [_ARCHITECTURE],
        "attention_bias": False,
        "bos_token_id": config.bos_id,
        "dtype": "float32",
        "eos_token_id": ends if len(ends) > 1 else ends[0] if ends else None,
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
        **({} if scaling is None else {"rope_scaling": scaling_to_hf(scaling, config.max_seq_len)}),
        "rope_theta": config.rope_theta,
        "tie_word_embeddings": config.tied,
        "torch_dtype": "float32",  # what transformers called dtype before 4.56
        "vocab_size": config.vocab_size,
    }
