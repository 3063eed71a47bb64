"""Quantised models on disk: read back as they were, refused when something is wrong with them."""

import json
from dataclasses import replace

import numpy as np
import pytest
from models import MIXED, ODD, of_many_forms, random_checkpoint, trained_vocabulary
from safetensors.numpy import load_file, save_file

from llgen.codegen.contract.numerics import flush_subnormals
from llgen.codegen.formats.hf.directory import load_checkpoint, save_checkpoint
from llgen.codegen.model.spec import lower, rope_tables
from llgen.codegen.quantise.fold import fold
from llgen.codegen.quantise.quantize import assemble, quantize, quantized, round_to_nearest
from llgen.codegen.quantise.quantized import is_quantized, load_quantized, read_model, save_quantized
from llgen.codegen.reference.forward import Reference, selftest
from llgen.errors import LlgenError, UsageError

TIED = replace(ODD, tied=True)


@pytest.mark.parametrize("config", [ODD, TIED, MIXED], ids=["untied", "tied", "mixed"])
@pytest.mark.parametrize("scheme", ["q8", "q4"])
def test_round_trip(tmp_path, config, scheme):
    model = quantized(random_checkpoint(config), scheme)
    save_quantized(model, tmp_path / "odd")
    assert is_quantized(tmp_path / "odd")
    back = load_quantized(tmp_path / "odd")
    assert (back.scheme, back.kv, back.context, back.config) == (scheme, "q8", model.context, config)
    assert selftest(back, 8) == selftest(model, 8)
    assert load_quantized(tmp_path / "odd", "f32").kv == "f32"
    save_quantized(back, tmp_path / "again" / "odd")
    assert load_quantized(tmp_path / "again" / "odd").sha256 == back.sha256
    assert read_model(tmp_path / "odd", context=5).context == 5


def test_the_tokenizer_comes_along(tmp_path):
    vocabulary = trained_vocabulary(420)
    config = ODD.__class__(**{**ODD.__dict__, "vocab_size": len(vocabulary)})
    model = quantized(random_checkpoint(config, vocabulary=vocabulary), "q8")
    save_quantized(model, tmp_path / "odd")
    assert load_quantized(tmp_path / "odd").vocabulary == vocabulary


def test_another_scheme_is_refused(tmp_path):
    save_quantized(quantized(random_checkpoint(), "q8"), tmp_path / "odd")
    with pytest.raises(UsageError, match="holds a model in scheme q8, not q4"):
        read_model(tmp_path / "odd", "q4")
    with pytest.raises(LlgenError, match="holds a quantised model"):
        load_checkpoint(tmp_path / "odd")
    with pytest.raises(LlgenError, match="a context of 999 was asked for"):
        read_model(tmp_path / "odd", context=999)


def test_float_models_are_read_in_any_scheme(tmp_path):
    save_checkpoint(random_checkpoint(), tmp_path / "odd")
    for scheme, kv in ((None, None), ("q8", None), ("q8", "f32"), ("q4", "q8")):
        model = read_model(tmp_path / "odd", scheme, kv)
        assert (model.scheme, model.kv) == (scheme or "f32", kv or ("f32" if scheme is None else "q8"))
    with pytest.raises(UsageError, match="scheme f32 keeps its keys and values in float32"):
        read_model(tmp_path / "odd", "f32", "q8")


def test_a_quantised_model_takes_the_place_of_a_float_one(tmp_path):
    save_checkpoint(random_checkpoint(), tmp_path / "odd")
    save_quantized(quantized(random_checkpoint(), "q8"), tmp_path / "odd")
    names = ["config.json", "generation_config.json", "quantized.safetensors"]
    assert sorted(path.name for path in (tmp_path / "odd").iterdir()) == names
    (tmp_path / "odd" / "notes.txt").write_text("mine")
    with pytest.raises(LlgenError, match=r"holds 'notes\.txt', which is not llgen's to replace"):
        save_quantized(quantized(random_checkpoint(), "q8"), tmp_path / "odd")


def damaged(folder, change):
    arrays = load_file(folder / "quantized.safetensors")
    change(arrays)
    save_file(arrays, folder / "quantized.safetensors")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda arrays: arrays.pop("wo.0.integers"), "has no matrix 'wo.0'"),
        (lambda arrays: arrays["wo.0.integers"].__setitem__((0, 0), -128), "matrix 'wo.0' of another form"),
        (lambda arrays: arrays["w2.0.scales"].__setitem__(0, 0.1), "matrix 'w2.0' of another form"),
        (lambda arrays: arrays["w2.0.scales"].__setitem__(0, np.inf), "matrix 'w2.0' of another form"),
        (lambda arrays: arrays["w2.0.scales"].__setitem__(0, 0.0), "matrix 'w2.0' of another form"),
        (lambda arrays: arrays.update({"w13.0.integers": np.zeros((1, 1), np.int8)}), "matrix 'w13.0' of another form"),
    ],
)
def test_nothing_is_taken_on_trust(tmp_path, change, message):
    save_quantized(quantized(random_checkpoint(), "q8"), tmp_path / "odd")
    damaged(tmp_path / "odd", change)
    with pytest.raises(LlgenError, match=message):
        load_quantized(tmp_path / "odd")


def test_a_multiplier_has_a_negative(tmp_path):
    save_quantized(quantized(random_checkpoint(), "q4"), tmp_path / "odd")
    damaged(tmp_path / "odd", lambda arrays: arrays["w2.0.multipliers"].__setitem__((0, 0), -128))
    with pytest.raises(LlgenError, match=r"matrix 'w2\.0' of another form"):
        load_quantized(tmp_path / "odd")


@pytest.mark.parametrize("gain", [None, np.ones(35, np.float32), np.full(36, np.nan, np.float32)])
def test_the_last_gain_is_not_taken_on_trust(tmp_path, gain):
    save_quantized(quantized(random_checkpoint(TIED), "q8"), tmp_path / "odd")
    damaged(
        tmp_path / "odd", lambda arrays: arrays.pop("final_gain") if gain is None else arrays.update(final_gain=gain)
    )
    with pytest.raises(LlgenError, match="no sound final_gain of 36 numbers"):
        load_quantized(tmp_path / "odd")


def test_an_embedding_that_is_only_looked_up_has_8_bits(tmp_path):
    save_quantized(quantized(random_checkpoint(), "q8"), tmp_path / "odd")

    def halve(arrays):
        arrays["embedding.integers"] >>= 5
        arrays["embedding.multipliers"] = np.ones((ODD.vocab_size, 2), np.int8)

    damaged(tmp_path / "odd", halve)
    other_bits(tmp_path / "odd", embedding=4)
    with pytest.raises(LlgenError, match="an embedding of 4 bits and a classifier besides"):
        load_quantized(tmp_path / "odd")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("scheme", "f32", "the scheme f32, which is none of q8, q4"),
        ("scheme", "q3", "the scheme q3, which is none of q8, q4"),
        ("kv", "q4", "the kv q4, which is none of f32, q8"),
        ("context", 0, f"the context 0, which is none of 1 to {ODD.max_seq_len}"),
        ("context", 10**13, f"the context {10**13}, which is none of 1 to {ODD.max_seq_len}"),
    ],
)
def test_formats_and_contexts_are_not_taken_on_trust(tmp_path, key, value, message):
    save_quantized(quantized(random_checkpoint(), "q8"), tmp_path / "odd")
    change_section(tmp_path / "odd", lambda section: section.update({key: value}))
    with pytest.raises(LlgenError, match=message):
        load_quantized(tmp_path / "odd")


@pytest.mark.parametrize("block", [-2, 0, 3, 8, 36])
def test_mixed_channels_are_not_taken_on_trust(tmp_path, block):
    save_quantized(quantized(random_checkpoint(TIED), "q8"), tmp_path / "odd")
    change_section(tmp_path / "odd", lambda section: section.update(gain_block=block))
    with pytest.raises(LlgenError, match=f"mixes channels by {block}, which does not suit 36 of them"):
        load_quantized(tmp_path / "odd")


def test_a_classifier_of_its_own_leaves_nothing_to_mix(tmp_path):
    save_quantized(quantized(random_checkpoint(replace(MIXED, tied=False)), "q8"), tmp_path / "odd")
    change_section(tmp_path / "odd", lambda section: section.update(gain_block=16))
    with pytest.raises(LlgenError, match="mixes channels by 16"):
        load_quantized(tmp_path / "odd")


def change_section(folder, change):
    path = folder / "config.json"
    config = json.loads(path.read_text())
    change(config["llgen_quantization"])
    path.write_text(json.dumps(config))


def other_bits(folder, **bits):
    change_section(folder, lambda section: section["bits"].update(bits))


@pytest.mark.parametrize(("scheme", "bits"), [("q8", 4), ("q8", 5), ("q8", 7), ("q4", 8), ("q4", 3)])
def test_bits_are_not_taken_on_trust(tmp_path, scheme, bits):
    save_quantized(quantized(random_checkpoint(), scheme), tmp_path / "odd")
    other_bits(tmp_path / "odd", **{"w2.0": bits})
    with pytest.raises(LlgenError, match=r"a matrix 'w2\.0' of another form"):
        load_quantized(tmp_path / "odd")


def test_all_forms_come_back(tmp_path):
    model = of_many_forms(random_checkpoint(TIED), embedding=6)
    save_quantized(model, tmp_path / "odd")
    back = load_quantized(tmp_path / "odd")
    assert {name: matrix.bits for name, matrix in back.matrices.items()} == {
        name: matrix.bits for name, matrix in model.matrices.items()
    }
    assert back.sha256 == model.sha256


def test_a_config_without_the_section_is_refused(tmp_path):
    save_quantized(quantized(random_checkpoint(), "q8"), tmp_path / "odd")
    path = tmp_path / "odd" / "config.json"
    config = json.loads(path.read_text())
    del config["llgen_quantization"]
    path.write_text(json.dumps(config))
    with pytest.raises(LlgenError, match="holds no readable quantised model"):
        load_quantized(tmp_path / "odd")


def test_a_block_of_positions_equals_single_steps():
    for scheme, kv in (("q8", "f32"), ("q8", "q8"), ("q4", "q8")):
        model = quantized(random_checkpoint(), scheme, kv)
        tokens = [1, 5, 9, 200, 3, 3, 77]
        whole = Reference(model).feed(tokens)
        steps = Reference(model)
        assert np.stack([steps.feed([token])[0] for token in tokens]).tobytes() == whole.tobytes()


def test_two_quantisations_of_one_model_have_different_hashes():
    """The hash names cached builds: GPTQ's integers in memory must not pass for those rounded to nearest."""
    spec = lower(random_checkpoint())
    folded = fold(spec, "q8")
    nearest = round_to_nearest(folded)
    integers = nearest.embedding.integers.copy()
    integers[0, 0] ^= 1
    matrices = nearest.matrices | {"embedding": replace(nearest.embedding, integers=integers)}
    assert assemble(folded, None, nearest.matrices).sha256 == nearest.sha256
    assert assemble(folded, None, matrices).sha256 != nearest.sha256
    assert len({quantize(spec, scheme).sha256 for scheme in ("f32", "q8", "q4")}) == 3


@pytest.mark.parametrize("config", [ODD, TIED], ids=["untied", "tied"])
def test_a_model_in_memory_and_on_disk_is_the_same(tmp_path, config):
    """Same hash and same tables: neither place rounds anything that the other does not."""
    config = replace(config, rope_theta=1e9, head_dim=64)
    held = quantized(random_checkpoint(config), "q4")
    save_quantized(held, tmp_path / "odd")
    read = load_quantized(tmp_path / "odd")
    assert read.sha256 == held.sha256
    for ours, theirs in ((held.rope_cos, read.rope_cos), (held.rope_sin, read.rope_sin)):
        assert ours.tobytes() == theirs.tobytes()


def test_no_number_of_a_rope_table_is_subnormal():
    config = replace(ODD, rope_theta=1e9, head_dim=1024)
    for table in rope_tables(config, 4096):
        assert flush_subnormals(table).tobytes() == table.tobytes()
