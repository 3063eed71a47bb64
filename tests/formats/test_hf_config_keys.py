"""Every key of transformers' LlamaConfig: what llgen reads of a directory computes what transformers computes of it, or
the key is refused by its name. A key that a later transformers adds fails here until it is classified."""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from interleaved import reference_logits
from safetensors.torch import save_file

from llgen.codegen.formats.hf.directory import load_checkpoint
from llgen.codegen.formats.hf.keys import HARMLESS, NEUTRAL, READ, ROPE_NEUTRAL, ROPE_READ, UNIFORM
from llgen.errors import LlgenError
from llgen.notices import gathered

pytestmark = pytest.mark.filterwarnings("ignore")  # what transformers warns of is none of ours

BASE = {
    "architectures": ["LlamaForCausalLM"],
    "bos_token_id": 1,
    "eos_token_id": 2,
    "hidden_size": 16,
    "intermediate_size": 24,
    "max_position_embeddings": 16,
    "model_type": "llama",
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
    "vocab_size": 32,
}
TOKENS = [1, 5, 30, 0, 7, 31, 16, 16, 9, 2, 2, 11, 30, 8, 19, 4]
LLAMA3: dict[str, Any] = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 0.5, "high_freq_factor": 4.0}
TABLE: dict[str, Any] = {"rope_type": "longrope", "short_factor": [2.0, 3.0], "long_factor": [2.0, 3.0]}
SCALED: list[dict[str, Any]] = [
    {"rope_type": "linear", "factor": 2.0},
    {"type": "linear", "factor": 3, "rope_theta": 50.0},
    {"rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": 8},
    {"type": "yarn", "factor": 4.0, "beta_fast": 2.0, "beta_slow": 0.25, "attention_factor": 0.75},
    {"rope_type": "yarn", "factor": None, "original_max_position_embeddings": 8, "truncate": False},
    {"rope_type": "yarn", "factor": 8.0, "mscale": 0.7, "mscale_all_dim": 0.5, "beta_fast": 0, "truncate": None},
    {"rope_type": "yarn", "factor": 8.0, "mscale": -0.7, "mscale_all_dim": 0.5},
    LLAMA3 | {"original_max_position_embeddings": 8},
    LLAMA3,
    TABLE | {"attention_factor": 1.5, "factor": 2.0, "original_max_position_embeddings": 8},
]
"""Of kinds that llgen supports."""
OTHERWISE_SCALED: list[dict[str, Any]] = [
    {"type": "dynamic", "factor": 4.0},
    TABLE | {"factor": 2.0},
    TABLE | {"factor": 2.0, "attention_factor": 1.0, "long_factor": [4.0, 5.0]},
    TABLE | {"attention_factor": 1.0, "short_factor": [2.0], "long_factor": [2.0]},
    {"rope_type": "linear", "factor": 0.5},
    LLAMA3 | {"high_freq_factor": 0.5},
    LLAMA3 | {"original_max_position_embeddings": 0},
    {"rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": 1, "beta_slow": 30.0},
    {"rope_type": "yarn", "factor": 2.0, "attention_factor": 0.0},
    {"rope_type": "proportional", "partial_rotary_factor": 0.5},
    {"rope_type": "default", "rope_theta": 50.0, "partial_rotary_factor": 0.5},
    {"rope_type": "default", "type": "linear", "factor": 2.0},
]
WRONGLY_SCALED: list[dict[str, Any]] = [
    {"rope_type": "linear"},
    {"rope_type": "linear", "factor": "2"},
    {"rope_type": "yarn", "factor": 2.0, "partial_rotary_factor": 0.5},
    {"rope_type": ["linear"]},
]
"""What transformers does not take, either."""
PLAIN: list[dict[str, Any]] = [
    {},
    {"type": "default"},
    {"rope_theta": 50.0},
    {"rope_type": "default", "rope_theta": 300.0},
    {"rope_theta": 75, "original_max_position_embeddings": 8},
]
# By key: values that change what is computed where the key counts.
VALUES: dict[str, list[Any]] = {
    "attention_bias": [True],
    "attention_chunk_size": [2],
    "attribute_map": [{"hidden_act": "mlp_act"}],
    "default_rope_type": ["linear"],
    "default_theta": [50.0],
    "dtype": ["float64", "float16", "bfloat16"],
    "head_dim": [2, 4, 6, None],
    "hidden_act": ["gelu", "relu", "swish", "silu"],
    "hidden_size": [8, 24],
    "intermediate_size": [8],
    "is_causal": [False],
    "is_encoder_decoder": [True],
    "layer_types": [["full_attention"] * 2, ["full_attention", "sliding_attention"]],
    "max_position_embeddings": [8, 64],
    "mlp_bias": [True],
    "mlp_layer_types": [["dense"] * 2],
    "num_attention_heads": [2, 8],
    "num_hidden_layers": [1, 3],
    "num_key_value_heads": [1, 4, None],
    "partial_rotary_factor": [0.5, 1.0],
    "per_layer_config": [{"1": {"rms_norm_eps": 0.9}}],
    "rms_norm_eps": [0.5, 1e-12],
    "rope_parameters": [*PLAIN, *SCALED, *OTHERWISE_SCALED, *WRONGLY_SCALED],
    "rope_scaling": [None, *PLAIN, *SCALED, *OTHERWISE_SCALED, *WRONGLY_SCALED],
    "rope_theta": [50.0, 1000, 1e6],
    "sliding_window": [2, None],
    "text_config": [{"tie_word_embeddings": True}],
    "tie_word_embeddings": [True],
    "torch_dtype": ["float32", "bfloat16"],
    "vocab_size": [40],
}
# Keys of the class that a Llama's forward pass has no use for; each is tried all the same.
IDLE: dict[str, list[Any]] = {
    "architectures": [None, ["LlamaForCausalLM"]],
    "attention_dropout": [0.5],
    "bos_token_id": [3],
    "chunk_size_feed_forward": [1],
    "eos_token_id": [4, [4, 5]],
    "id2label": [{"0": "a", "1": "b", "2": "c"}],
    "initializer_range": [0.9],
    "label2id": [{"a": 0}],
    "output_hidden_states": [True],
    "original_max_position_embeddings": [4, 8],  # counts where the rotation is scaled
    "pad_token_id": [0, 31],
    "pretraining_tp": [2],
    "problem_type": ["regression"],
    "return_dict": [True],
    "transformers_version": ["4.40.0"],
    "use_cache": [False],
    "a_key_of_somebody's_own": [3],
}
PAIRS = [(key, value) for key, values in (VALUES | IDLE).items() for value in values]

# What transformers does not take, either.
NOT_TAKEN: list[tuple[str, Any]] = [
    ("attribute_map", {"hidden_act": "mlp_act"}),
    ("layer_types", ["full_attention", "sliding_attention"]),
    ("per_layer_config", {"1": {"rms_norm_eps": 0.9}}),
    ("text_config", {"tie_word_embeddings": True}),
    *((where, scaling) for where in ("rope_parameters", "rope_scaling") for scaling in WRONGLY_SCALED),
]


def write_model(directory: Path, config: dict[str, Any]) -> Any:
    """A directory with this config.json and random weights of the shapes that transformers wants; its model, loaded.

    Raises what transformers raises when it refuses the config itself.
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    (directory / "config.json").write_text(json.dumps(config))
    torch.manual_seed(1)
    made = LlamaForCausalLM(LlamaConfig.from_pretrained(directory)).float()
    tensors = {
        name: 1 + 0.3 * torch.randn(tensor.shape)
        if "norm" in name
        else torch.randn(tensor.shape) * 1.5 / max(tensor.shape[-1], 4) ** 0.5
        for name, tensor in made.state_dict().items()
        if name != "lm_head.weight" or config.get("tie_word_embeddings") is not True
    }
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    return LlamaForCausalLM.from_pretrained(
        directory, local_files_only=True, dtype=torch.float32, attn_implementation="eager"
    )


def require_equal_or_refused(directory: Path, changed: dict[str, Any], tokens: list[int] | None = None) -> bool:
    """Whether transformers takes BASE with `changed`; if it does, and else if `changed` is one key, llgen must not
    differ: it computes the same or names a key of `changed`."""
    config = BASE | changed
    tokens = (tokens or TOKENS)[: config["max_position_embeddings"]]
    theirs = None
    try:
        model = write_model(directory, config)
        with torch.no_grad():
            theirs = model(torch.tensor([tokens]), return_dict=True).logits[0].numpy()
    except Exception:  # whatever it is: transformers does not take this config
        if len(changed) > 1:
            return False
    try:
        with gathered():
            checkpoint = load_checkpoint(directory)
    except LlgenError as error:
        assert any(key in error.message for key in changed), error.message
        return theirs is not None
    assert theirs is not None
    ours = reference_logits(checkpoint, tokens)
    spread = theirs.max(axis=1) - theirs.min(axis=1)
    assert (np.abs(ours - theirs).max(axis=1) <= 1e-4 * spread).all()
    return True


@pytest.mark.parametrize(("key", "value"), PAIRS)
def test_each_key_counts_as_in_transformers_or_is_refused_by_its_name(key: str, value: Any, tmp_path: Path) -> None:
    assert require_equal_or_refused(tmp_path, {key: value}) == ((key, value) not in NOT_TAKEN)


@pytest.mark.parametrize("beside", [{}, {"original_max_position_embeddings": 7}, {"rope_theta": 300.0}])
@pytest.mark.parametrize("where", ["rope_parameters", "rope_scaling"])
@pytest.mark.parametrize("scaling", SCALED, ids=lambda scaling: scaling.get("rope_type", scaling.get("type")))
def test_scaled_rotations_are_read(scaling: dict[str, Any], where: str, beside: dict[str, Any], tmp_path: Path) -> None:
    """They are not only refused or equal: they are equal, and differ from an unscaled rotation."""
    changed = {where: scaling} | beside
    assert require_equal_or_refused(tmp_path, changed)
    with gathered():
        ours = reference_logits(load_checkpoint(tmp_path), TOKENS)
    plain_config = BASE | {"rope_theta": scaling.get("rope_theta", 10000.0)} | beside
    (tmp_path / "config.json").write_text(json.dumps(plain_config))
    plain = reference_logits(load_checkpoint(tmp_path), TOKENS)
    assert np.abs(ours - plain).max() > 1e-3 * np.ptp(plain)


@st.composite
def scaled_configs(draw: st.DrawFn) -> dict[str, Any]:
    """A config.json whose rotation is scaled, with at most 64 positions, and its scaling valid."""
    head_dim = draw(st.sampled_from([4, 6, 16]))
    positions, original = draw(st.integers(24, 64)), draw(st.integers(7, 48))
    factor = draw(st.sampled_from([1.0, 1.5, 4.0, 32.0]))
    low, ratio = draw(st.sampled_from([0.25, 1.0, 2.5])), draw(st.sampled_from([1.25, 4.0, 16.0]))
    numbers = st.lists(st.sampled_from([0.5, 1.0, 3.0, 17.0]), min_size=head_dim // 2, max_size=head_dim // 2)
    table = draw(numbers)
    scaling = draw(
        st.sampled_from(
            [
                {"rope_type": "linear", "factor": factor},
                {"rope_type": "llama3", "factor": factor, "low_freq_factor": low, "high_freq_factor": low * ratio},
                {"rope_type": "yarn", "factor": factor},
                {"rope_type": "yarn", "factor": factor, "beta_fast": 8 * ratio, "truncate": draw(st.booleans())},
                {"rope_type": "longrope", "long_factor": table, "short_factor": table, "attention_factor": 1.25},
            ]
        )
    )
    if scaling["rope_type"] != "linear":
        scaling = scaling | {"original_max_position_embeddings": original}
    theta = draw(st.sampled_from([100.0, 10000.0, 500000.0]))
    return {"rope_parameters": scaling, "rope_theta": theta, "head_dim": head_dim, "max_position_embeddings": positions}


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(changed=scaled_configs())
def test_any_scaled_rotation_is_read(tmp_path: Path, changed: dict[str, Any]) -> None:
    positions = changed["max_position_embeddings"]
    tokens = [int(token) for token in np.random.default_rng(positions).integers(32, size=positions)]
    assert require_equal_or_refused(tmp_path, changed, tokens)
    with gathered():
        load_checkpoint(tmp_path)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(changed=st.lists(st.sampled_from(PAIRS), min_size=2, max_size=4, unique_by=lambda pair: pair[0]).map(dict))
@example(changed={"hidden_size": 8, "num_attention_heads": 8})
def test_keys_together_count_as_in_transformers_or_are_refused(tmp_path: Path, changed: dict[str, Any]) -> None:
    require_equal_or_refused(tmp_path, changed)


def known(key: str) -> bool:
    return key in READ or key in HARMLESS or key in NEUTRAL or key in UNIFORM


def test_no_key_of_transformers_is_unclassified() -> None:
    from transformers import GenerationConfig, LlamaConfig
    from transformers.modeling_rope_utils import RopeParameters

    fields = {field.name for field in dataclasses.fields(LlamaConfig)}
    static = {name: inspect.getattr_static(LlamaConfig, name) for name in dir(LlamaConfig) if not name.startswith("__")}
    values = {
        name for name, it in static.items() if not callable(it) and not isinstance(it, classmethod | staticmethod)
    }
    sampling = set(GenerationConfig._get_default_generation_params())
    assert sorted(key for key in fields | values | sampling if not known(key)) == []
    assert sorted(set(RopeParameters.__annotations__) - set(ROPE_NEUTRAL) - ROPE_READ) == []


def test_every_field_of_the_class_is_tried() -> None:
    from transformers import LlamaConfig

    assert sorted({field.name for field in dataclasses.fields(LlamaConfig)} - set(VALUES) - set(IDLE)) == []


def test_no_key_that_transformers_looks_up_on_any_config_is_unclassified() -> None:
    from transformers import cache_utils, masking_utils, modeling_rope_utils, modeling_utils
    from transformers.models.llama import modeling_llama

    modules: list[ModuleType] = [cache_utils, masking_utils, modeling_rope_utils, modeling_utils, modeling_llama]
    asked = re.compile(r'(?:get|has)attr\((?:self\.|model\.)?config, "(\w+)"')
    found = {key for module in modules for key in asked.findall(inspect.getsource(module))}
    assert "is_causal" in found
    assert sorted(key for key in found if not known(key)) == []


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"a_key": 3, "another": None}, "has keys that a Llama's code does not read, nor does llgen: a_key, another"),
        ({"auto_map": {"AutoModelForCausalLM": "modeling.Mine"}}, "names code of its own (auto_map)"),
        (
            {"rope_theta": 50.0, "rope_parameters": {"rope_theta": 75.0}},
            "has rope_theta twice: 75, within rope_parameters, counts, and not 50.0",
        ),
        ({"rope_theta": 50.0, "rope_parameters": {"rope_theta": 50.0}, "use_cache": False}, ""),
    ],
)
def test_what_is_read_over_is_said(changed: dict[str, Any], said: str, tmp_path: Path) -> None:
    write_model(tmp_path, BASE | changed)
    with gathered() as notices:
        load_checkpoint(tmp_path)
    assert len(notices) == bool(said)
    assert said in "".join(notices)


def test_two_places_that_scale_otherwise_are_refused(tmp_path: Path) -> None:
    scaling = {"rope_type": "linear", "factor": 2.0}
    write_model(tmp_path, BASE | {"rope_scaling": scaling, "rope_parameters": scaling | {"factor": 4.0}})
    with pytest.raises(LlgenError, match="has one scaling in rope_scaling and another in rope_parameters"):
        load_checkpoint(tmp_path)


def test_two_places_that_disagree_about_the_rotation_are_refused(tmp_path: Path) -> None:
    write_model(tmp_path, BASE | {"rope_scaling": {"type": "default"}, "rope_parameters": {"rope_theta": 75.0}})
    with pytest.raises(LlgenError, match="has rope_theta 10000 by its rope_scaling and 75 by its rope_parameters"):
        load_checkpoint(tmp_path)
