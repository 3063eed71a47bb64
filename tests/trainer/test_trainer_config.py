"""Settings: their layers, their limits, and errors that name a wrong setting."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from models import random_checkpoint

from llgen.codegen.formats.hf.directory import save_checkpoint
from llgen.codegen.model.architectures import parameter_count
from llgen.codegen.model.config import ModelConfig
from llgen.codegen.model.rope import LinearScaling, YarnScaling
from llgen.errors import ExitCode, LlgenError
from llgen.trainer.config import TrainConfig
from llgen.trainer.layers import differences, known_keys, layered, preset_names, read_config_file, read_preset, setting
from llgen.trainer.schedule import learning_rate_factor, sequence_length
from llgen.trainer.start import with_shape_of_start


def test_later_layers_override_earlier_ones() -> None:
    config = layered([read_preset("stories-260k"), {"model": {"dim": 96}}, setting("model.dim=128"), setting("seed=7")])
    assert (config.model.dim, config.model.n_layers, config.seed) == (128, 5, 7)


def test_a_new_end_replaces_the_one_beneath() -> None:
    config = layered([read_preset("stories-260k"), {"schedule": {"minutes": 2}}])
    assert (config.schedule.iterations, config.schedule.minutes) == (None, 2)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("stories-260k", 260_032),
        ("stories-1m", 1_038_720),
        ("stories-3m", 3_148_224),
        ("stories-15m", 15_191_712),
        ("stories-42m", 41_689_600),
        ("stories-110m", 109_529_856),
    ],
)
def test_presets_have_the_sizes_they_are_named_for(name: str, parameters: int) -> None:
    assert parameter_count(layered([read_preset(name)]).model.resolved()) == parameters


def test_a_scaled_rotation_is_set_by_the_names_of_hugging_face() -> None:
    words = 'model.rope_scaling={rope_type="yarn", factor=4.0, original_max_position_embeddings=128}'
    config = layered([read_preset("stories-260k"), setting(words)]).model.resolved()
    assert config.rope_scaling == YarnScaling(4.0, 128, YarnScaling.usual_attention_factor(4.0))
    for wrong, message in (
        ('{rope_type="dynamic"}', "'model' has rope_scaling of type 'dynamic': its angles depend on"),
        ('{rope_type="linear", factor=0.5}', "'model' has rope_scaling whose factor is 0.5; it must be 1 to"),
    ):
        with pytest.raises(LlgenError, match=message):
            layered([read_preset("stories-260k"), setting(f"model.rope_scaling={wrong}")]).model.resolved()


def test_training_goes_on_with_the_rotation_of_its_start_or_scales_it(tmp_path: Path) -> None:
    shape = ModelConfig(16, 24, 1, 4, 2, 4, 32, 64)
    for name, scaling in (("plain", None), ("scaled", LinearScaling(2.0))):
        save_checkpoint(random_checkpoint(replace(shape, rope_scaling=scaling)), tmp_path / name)
        kept = with_shape_of_start(layered([{"start": {"model": str(tmp_path / name)}}]))
        assert kept.model.resolved() == replace(shape, rope_scaling=scaling)
        longer = setting('model.rope_scaling={type="linear", factor=4}')
        changed = with_shape_of_start(layered([{"start": {"model": str(tmp_path / name)}}, longer]))
        assert changed.model.resolved().rope_scaling == LinearScaling(4.0)


def test_every_preset_is_listed_and_valid() -> None:
    assert {"demo", "stories-260k", "stories-110m"} <= set(preset_names())
    for name in preset_names():
        layered([read_preset(name)])
    with pytest.raises(LlgenError, match="there is no preset 'stories-7b'"):
        read_preset("stories-7b")


@pytest.mark.parametrize(
    ("text", "value"), [("a=1", 1), ("a=0.5", 0.5), ("a=true", True), ("a='x y'", "x y"), ("a=x y.txt", "x y.txt")]
)
def test_a_setting_is_toml_or_else_a_string(text: str, value: object) -> None:
    assert setting(text) == {"a": value}
    assert setting(f"b.{text}") == {"b": {"a": value}}


def test_what_is_no_setting_is_refused() -> None:
    for text in ("model.dim", "=3"):
        with pytest.raises(LlgenError, match="is not a setting"):
            setting(text)


@pytest.mark.parametrize(
    ("layer", "message", "hint"),
    [
        ({"model": {"dmi": 64}}, "there is no setting 'model.dmi'; did you mean 'model.dim'", ""),
        ({"optimiser": {"name": "adamw"}}, "there is no setting 'optimiser'", ""),
        ({"model": {"dim": 0}}, "model.dim is 0: input should be greater than or equal to 1", ""),
        ({"model": {"dim": "wide"}}, "model.dim is 'wide': input should be a valid integer", ""),
        ({"optimizer": {"name": "sgd"}}, "optimizer.name is 'sgd'", ""),
        ({"optimizer": {"learning_rate": float("nan")}}, "optimizer.learning_rate is nan", ""),
        ({"schedule": {"iterations": 5, "minutes": 5}}, "schedule: iterations and minutes both say", ""),
        ({"hardware": {"shard": True}}, "the configuration: muon needs whole matrices", ""),
        ({"start": {"lora": 4}}, "start: lora needs a model to adapt", ""),
        ({"modle": {"dim": 64}}, "there is no setting 'modle'; did you mean 'model'", ""),
        ({"seed": 1 << 63}, "seed is 9223372036854775808: input should be less than", ""),
        ({"hardware": {"replicas": 2}, "batch": {"dropout": 0.1}}, "hardware.replicas=1", ""),
    ],
)
def test_wrong_settings_are_named(layer: dict[str, Any], message: str, hint: str) -> None:
    with pytest.raises(LlgenError) as caught:
        layered([layer])
    assert message in caught.value.message
    assert hint in (caught.value.hint or "")
    assert caught.value.exit_code == ExitCode.USAGE


def test_shapes_that_do_not_divide_are_refused() -> None:
    with pytest.raises(LlgenError, match=r"model\.dim is 30, which model\.n_heads 8 does not divide"):
        layered([{"model": {"dim": 30}}]).model.resolved()


def test_config_files(tmp_path: Path) -> None:
    path = tmp_path / "train.toml"
    path.write_text("[model]\ndim = 32\n", encoding="utf-8")
    assert read_config_file(path) == {"model": {"dim": 32}}
    path.write_text("[model\n", encoding="utf-8")
    with pytest.raises(LlgenError, match="is not TOML"):
        read_config_file(path)
    with pytest.raises(LlgenError, match="there is no configuration"):
        read_config_file(tmp_path / "missing.toml")


def test_config_round_trip(tmp_path: Path) -> None:
    config = layered([read_preset("stories-3m"), {"start": {"teacher": "big"}}])
    config.save(tmp_path / "config.json")
    assert TrainConfig.load(tmp_path / "config.json") == config


def test_only_the_end_may_change() -> None:
    begun = layered([read_preset("stories-260k")])
    assert differences(begun, layered([read_preset("stories-260k"), {"schedule": {"minutes": 5}}])) == []
    assert differences(begun, layered([read_preset("stories-260k"), {"seed": 5, "model": {"dim": 128}}])) == [
        "seed",
        "model.dim",
    ]


def test_every_setting_is_documented() -> None:
    page = (Path(__file__).parents[2] / "doc" / "training.md").read_text(encoding="utf-8")
    assert [key for key in known_keys() if f"`{key.rpartition('.')[2]}`" not in page] == []


def test_learning_rate_rises_and_falls() -> None:
    factors = [learning_rate_factor(at, at / 100, warmup=9, final=0.1) for at in range(101)]
    assert factors[0] == pytest.approx(0.1)
    assert max(factors) == factors[9]
    assert factors[9] > 0.97
    assert factors[9:] == sorted(factors[9:], reverse=True)
    assert factors[100] == pytest.approx(0.1)


def test_sequences_grow_to_the_context() -> None:
    assert [sequence_length(32, tenth / 10, 0.8) for tenth in range(11)] == [8] * 4 + [16] * 4 + [32] * 3
    assert sequence_length(32, 0.0, 0.0) == 32
