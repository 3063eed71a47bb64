"""Every key of a Hugging Face `config.json` that llgen does not read: which are harmless, and which are refused.

The tables follow transformers 5.23: the fields of LlamaConfig and its base classes, the fields that the code for masks,
caches and rotation looks up on any config, and the names that other architectures use for steps that a Llama does not
have. tests/formats/test_hf_config_keys.py fails when a class of transformers has a key that is in none of the tables.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from llgen.errors import LlgenError
from llgen.notices import notice
from llgen.shown import shown, shown_list, shown_value

READ = frozenset(
    {
        "architectures",
        "bos_token_id",
        "dtype",
        "eos_token_id",
        "head_dim",
        "hidden_act",
        "hidden_size",
        "intermediate_size",
        "max_position_embeddings",
        "model_type",
        "num_attention_heads",
        "num_hidden_layers",
        "num_key_value_heads",
        "original_max_position_embeddings",
        "rms_norm_eps",
        "rope_parameters",
        "rope_scaling",
        "rope_theta",
        "tie_word_embeddings",
        "torch_dtype",
        "vocab_size",
    }
)
"""Keys that config.py, rope.py, tokenizer_files.py and directory.py read."""

_HARMLESS = """
    _attn_implementation _attn_implementation_autoset _attn_implementation_internal _commit_hash
    _experts_implementation _experts_implementation_internal _flash_attn_2_enabled _name_or_path
    attention_dropout attn_implementation chunk_size_feed_forward experts_implementation finetuning_task id2label
    initializer_range is_decoder keys_to_ignore_at_inference label2id max_sequence_length mlp_dropout name_or_path
    num_labels output_attentions output_hidden_states output_past pad_token_id prefix pretraining_tp problem_type
    resid_pdrop return_dict sep_token_id task_specific_params tie_last_hidden_states tokenizer_class torchscript
    transformers.js_config transformers_version unk_token_id unsloth_fixed unsloth_version use_bfloat16 use_cache
    use_return_dict attention_probs_dropout_prob attn_pdrop embd_pdrop hidden_dropout_prob is_llama_config
    llgen_quantization max_window_layers

    assistant_confidence_threshold assistant_lookbehind bad_words_ids begin_suppress_tokens diversity_penalty do_sample
    early_stopping encoder_no_repeat_ngram_size encoder_repetition_penalty epsilon_cutoff eta_cutoff
    exponential_decay_length_penalty forced_bos_token_id forced_eos_token_id length_penalty max_length min_length
    no_repeat_ngram_size num_assistant_tokens num_assistant_tokens_schedule num_beam_groups num_beams
    num_return_sequences output_scores remove_invalid_values repetition_penalty return_dict_in_generate suppress_tokens
    target_lookbehind temperature top_k top_p typical_p

    base_config_key base_model_ep_plan base_model_fsdp_plan base_model_pp_plan base_model_tp_plan extra_config_files
    extra_files ignore_keys_at_rope_validation
    classifier_dropout distributed_config gradient_checkpointing hidden_dropout init_std initializer_factor
"""

HARMLESS = frozenset(_HARMLESS.split())
"""For training and other tasks, names and versions, how fast it goes; how transformers samples; how it parallelises."""

NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    # What transformers looks up for a Llama.
    "attention_bias": (False,),
    "mlp_bias": (False,),
    "is_causal": (True,),
    "is_encoder_decoder": (False,),
    "partial_rotary_factor": (None, 1),
    "sliding_window": (None,),
    "attention_chunk_size": (None,),
    "kv_sharing_modes": (None,),
    "per_layer_config": (None, {}),
    "quantization_config": (None,),
    "compression_config": (None,),
    "configuration_files": (None, []),
    "transformers_weights": (None,),
    "fusion_config": (None, {}),
    "text_config": (None,),
    "text_encoder": (None,),
    "decoder": (None,),
    "generator": (None,),
    # What would turn one key into another: parts of the class itself, which a key of the file replaces.
    "attribute_map": (None, {}),
    "default_rope_type": (None, "default"),
    "default_theta": (None,),
    "_rope_type_labels": (None, []),
    "_auto_class": (None,),
    "allow_global_per_layer_attribute_access": (None, False),
    "is_heterogeneous": (None, False),
    "per_layer_attributes": (None, []),
    "serialize_explicit_per_layer_config": (None, False),
    "sub_configs": (None, {}),
    "sub_configs_defaults": (None, {}),
    # What other tools and older versions made of a Llama.
    "add_cross_attention": (None, False),
    "pruned_heads": (None, {}),
    "quantization": (None,),
    "rope_interleave": (None, False),
    "rope_interleaved": (None, False),
    "rope_traditional": (None, False),
    "rotary_pct": (None, 1),
    "tie_encoder_decoder": (None, False),
    # Steps of other architectures.
    "alibi": (None, False),
    "attention_in_bias": (None, False),
    "attention_multiplier": (None,),
    "attention_out_bias": (None, False),
    "attn_logit_softcapping": (None, 0),
    "bias": (None, False),
    "clip_qkv": (None, 0),
    "dim_model_base": (None,),
    "embedding_multiplier": (None, 1),
    "final_logit_softcapping": (None, 0),
    "head_bias": (None, False),
    "lm_head_bias": (None, False),
    "logit_scale": (None, 1),
    "logits_scaling": (None, 1),
    "n_routed_experts": (None, 0),
    "no_bias": (None, True),
    "no_rope_layer_interval": (None,),
    "no_rope_layers": (None,),
    "num_experts": (None, 0),
    "num_kv_shared_layers": (None, 0),
    "num_local_experts": (None, 0),
    "parallel_attn": (None, False),
    "qk_layernorm": (None, False),
    "qk_norm": (None, False),
    "qkv_bias": (None, False),
    "query_pre_attn_scalar": (None,),
    "residual_multiplier": (None, 1),
    "scale_depth": (None,),
    "scale_emb": (None, 1),
    "logits_mup_width_multiplier": (None, 1),
    "mlp_gate_softcap": (None, 0),
    "mlp_up_softcap": (None, 0),
    "swiglu_alpha": (None,),
    "swiglu_limit": (None,),
    "unpadded_vocab_size": (None,),
    "use_alibi": (None, False),
    "use_bias": (None, False),
    "use_parallel_residual": (None, False),
    "use_qk_norm": (None, False),
    "use_sliding_window": (None, False),
}
"""What would change the computation, and the values that do not; `sliding_window` of 4 is refused, null is not."""

UNIFORM: Mapping[str, str] = {"layer_types": "full_attention", "mlp_layer_types": "dense"}
"""Lists with a word for each layer, and the word that a Llama's layers have."""

ROPE_NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "attention_factor": (None, 1),
    "beta_fast": (None,),
    "beta_slow": (None,),
    "factor": (None, 1),
    "high_freq_factor": (None,),
    "long_factor": (None,),
    "low_freq_factor": (None,),
    "mrope_section": (None,),
    "mscale": (None,),
    "mscale_all_dim": (None,),
    "partial_rotary_factor": (None, 1),
    "short_factor": (None,),
    "truncate": (None,),
}
"""Keys that a kind of rotation may not use, and the values that change nothing then. Other keys are refused."""

ROPE_READ = frozenset({"rope_theta", "rope_type", "type", "original_max_position_embeddings"})
"""Keys of every rotation; the original context has no effect on some."""


def require_plain_llama(raw: Mapping[str, Any], path: Path) -> None:
    """Refuse keys of a config.json that ask for something llgen lacks; name unknown keys in a notice.

    Unknown keys do not change the computation: transformers does not look them up for a Llama.
    Raises LlgenError with the key's name and value.
    """
    unknown = []
    for key, value in raw.items():
        if key in NEUTRAL:
            _require(key, value, NEUTRAL[key], path)
        elif key in UNIFORM:
            _require_uniform(key, value, path)
        elif key == "auto_map":
            if value:
                notice(f"'{path}' names code of its own (auto_map): llgen takes the model for a plain Llama")
        elif key not in READ and key not in HARMLESS:
            unknown.append(key)
    if unknown:
        notice(f"'{path}' has keys that a Llama's code does not read, nor does llgen: {shown_list(sorted(unknown))}")


def require_neutral_rope(rope: Mapping[str, Any], read: Collection[str], where: str, path: Path | str) -> None:
    """Refuse keys of rope_parameters or rope_scaling that ask for more than its kind, which uses the keys `read`.

    `where` says which of the two it is. Raises LlgenError with the key's name and value.
    """
    for key, value in rope.items():
        if key not in ROPE_READ and key not in read:
            _require(f"{where}.{key}", value, ROPE_NEUTRAL.get(key, (None,)), path)


def _require(key: str, value: object, neutral: tuple[Any, ...], path: Path | str) -> None:
    if value not in neutral:
        only = [repr(choice) for choice in neutral if choice is not None]
        supported = f"llgen supports {only[0]} only" if only else "llgen does not support it"
        raise LlgenError(f"'{path}' has {shown(key)} = {shown_value(value)}; {supported}")


def _require_uniform(key: str, value: object, path: Path) -> None:
    word = UNIFORM[key]
    if value is not None and (not isinstance(value, list) or any(entry != word for entry in value)):
        raise LlgenError(f"'{path}' has {key} = {shown_value(value)}; llgen supports {word!r} only")
