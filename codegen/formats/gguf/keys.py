"""Every key `llama.…` of GGUF's metadata that llgen does not read: which are harmless, and which are refused.

The tables follow the keys that llama.cpp looks up for the architecture llama, and those that the `gguf` package names.
The keys are dimensions and switches of a model. A key in no table is refused unless its value is 0, false or empty.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from llgen.errors import LlgenError
from llgen.shown import shown, shown_value

from .container import Value

READ = frozenset(
    {
        "attention.head_count",
        "attention.head_count_kv",
        "attention.key_length",
        "attention.layer_norm_rms_epsilon",
        "attention.value_length",
        "block_count",
        "context_length",
        "embedding_length",
        "feed_forward_length",
        "rope.dimension_count",
        "rope.freq_base",
        "rope.scale_linear",
        "rope.scaling.attn_factor",
        "rope.scaling.factor",
        "rope.scaling.original_context_length",
        "rope.scaling.type",
    }
)

HARMLESS = frozenset(
    {
        "attention.layer_norm_epsilon",  # of a norm that a Llama does not have
        "decoder_start_token_id",
        "rope.scaling.finetuned",
        "tensor_data_layout",
        "vocab_size",  # the rows of the embedding say it
    }
)

NEUTRAL: Mapping[str, tuple[Value, ...]] = {
    "attention.causal": (True,),
    "attention.output_scale": (1.0,),
    "embedding_scale": (1.0,),
    "logit_scale": (1.0,),
    "residual_scale": (1.0,),
    # What llama.cpp does not look up for a Llama, and the values that it has there.
    "rope.scaling.yarn_attn_factor": (1.0,),
    "rope.scaling.yarn_beta_fast": (32.0,),
    "rope.scaling.yarn_beta_slow": (1.0,),
    "rope.scaling.yarn_ext_factor": (-1.0, 1.0),
}
"""Values that change nothing although they are not 0, false or empty."""

_WHAT = {
    "expert": "a mixture of experts",
    "rope.": "RoPE scaling",
    "attention.sliding_window": "a sliding attention window",
    "attention.causal": "attention to later positions",
}
"""What a key means, by its beginning, for messages."""

_PREFIX = "llama."


def require_plain_llama(pairs: Mapping[str, Value], path: Path) -> None:
    """Refuse a feature in the metadata that llgen lacks. Raises LlgenError with the key's name and value."""
    if pairs.get("general.type", "model") != "model":
        raise LlgenError(f"'{path}' has general.type = {shown_value(pairs['general.type'])}; llgen reads 'model' only")
    if pairs.get("split.count", 1) not in (0, 1):
        raise LlgenError(
            f"'{path}' has split.count = {shown_value(pairs['split.count'])}: one of several parts of a split model,"
            " which llgen lacks",
            "put the parts together: llama-gguf-split --merge",
        )
    for key, value in pairs.items():
        name = key.removeprefix(_PREFIX)
        if name == key or name in READ or name in HARMLESS:
            continue
        if value not in NEUTRAL[name] if name in NEUTRAL else bool(value):
            what = next((what for start, what in _WHAT.items() if name.startswith(start)), "a part of other models")
            raise LlgenError(f"'{path}' has {shown(key)} = {shown_value(value)}: {what}, which llgen lacks")
