"""RoPE scaling: frequencies by the formulas of the papers, limits, hashes, and a digest of C with each kind."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from generated import Library
from models import ODD, SCALINGS, random_checkpoint

from llgen.codegen.contract.numerics import flush_subnormals
from llgen.codegen.model.config import ModelConfig
from llgen.codegen.model.rope import (
    LinearScaling,
    Llama3Scaling,
    RopeScaling,
    TableScaling,
    YarnScaling,
    plain_frequencies,
)
from llgen.codegen.model.spec import rope_tables
from llgen.codegen.quantise.quantize import quantized
from llgen.codegen.quantise.quantized import load_quantized, save_quantized
from llgen.codegen.reference.forward import Reference
from llgen.errors import LlgenError

EACH = pytest.mark.parametrize("scaling", SCALINGS.values(), ids=SCALINGS)


def test_plain_frequencies_fall_from_one_to_the_base() -> None:
    assert plain_frequencies(10000.0, 4).tolist() == [1.0, 0.01]


def test_linear_divides_all() -> None:
    np.testing.assert_allclose(LinearScaling(4.0).frequencies(100.0, 4), [0.25, 0.025])


def test_llama3_keeps_fast_pairs_divides_slow_ones_and_goes_over_smoothly() -> None:
    # Over 100 positions the pairs of a head of 8 turn 15.9, 5.03, 1.59 and 0.503 times.
    found = Llama3Scaling(8.0, 1.0, 4.0, 100).frequencies(100.0, 8) / plain_frequencies(100.0, 8)
    share = (100 * 0.1 / (2 * math.pi) - 1.0) / (4.0 - 1.0)
    np.testing.assert_allclose(found, [1.0, 1.0, share + (1 - share) / 8, 1 / 8])


def test_yarn_keeps_fast_pairs_divides_slow_ones_and_mixes_in_between() -> None:
    # Pairs 1.13 and 4.13 of a head of 12 with base 100 turn 10 and 1 times over 150 positions.
    scaling = YarnScaling(4.0, 150, YarnScaling.usual_attention_factor(4.0), beta_fast=10.0, beta_slow=1.0)
    found = scaling.frequencies(100.0, 12) / plain_frequencies(100.0, 12)
    np.testing.assert_allclose(found, [1, 1, 1 - 0.75 / 4, 1 - 2 * 0.75 / 4, 1 - 3 * 0.75 / 4, 1 / 4])
    exact = replace(scaling, truncate=False).frequencies(100.0, 12) / plain_frequencies(100.0, 12)
    low, high = (12 * math.log(150 / (turns * 2 * math.pi)) / (2 * math.log(100)) for turns in (10, 1))
    np.testing.assert_allclose(exact[2], 1 - (2 - low) / (high - low) * 0.75)
    assert scaling.attention_factor == pytest.approx(1 + 0.1 * math.log(4))


def test_a_table_divides_each_by_its_own() -> None:
    np.testing.assert_allclose(TableScaling((1.0, 5.0)).frequencies(100.0, 4), [1.0, 0.02])


def test_yarns_attention_factor_multiplies_cosine_and_sine() -> None:
    config = replace(ODD, rope_scaling=TableScaling((1.0,) * 3, attention_factor=1.5))
    for scaled, plain in zip(rope_tables(config, 9), rope_tables(ODD, 9), strict=True):
        np.testing.assert_allclose(scaled, 1.5 * plain, rtol=1e-7)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LinearScaling(0.5), "factor is 0.5; it must be 1 to 65536"),
        (lambda: LinearScaling(math.nan), "factor is nan; it must be"),
        (lambda: Llama3Scaling(2.0, 4.0, 4.0, 8), "high_freq_factor is 4; it must be above low_freq_factor, 4"),
        (lambda: Llama3Scaling(2.0, 0.0, 4.0, 8), "low_freq_factor is 0.0; it must be"),
        (lambda: Llama3Scaling(2.0, 1.0, 4.0, 0), "original_max_position_embeddings is 0; it must be 1 to"),
        (lambda: YarnScaling(2.0, 8, 0.0), "attention_factor is 0.0; it must be"),
        (lambda: YarnScaling(2.0, 8, 1.0, beta_slow=-1.0), "beta_slow is -1.0; it must be"),
        (lambda: TableScaling((1.0, math.inf)), "factor 1 of rope_scaling is inf; it must be"),
        (lambda: replace(ODD, rope_scaling=TableScaling((1.0, 2.0))), "rope_scaling has 2 factors; heads of 6 have 3"),
        (
            lambda: replace(ODD, rope_scaling=YarnScaling(2.0, 1, 1.0, beta_slow=30.0)),
            "rope_scaling would mix pairs 0 to -1, which is no range; it follows from original_max_position_embeddings",
        ),
    ],
)
def test_refuses(make: object, message: str) -> None:
    assert callable(make)
    with pytest.raises(LlgenError) as refusal:
        make()
    assert message in refusal.value.message


def test_a_plain_rotation_leaves_the_hashes_of_earlier_versions() -> None:
    config = ModelConfig(8, 16, 1, 2, 1, 4, 32, 8)
    assert config.identity == (
        b"ModelConfig(dim=8, hidden_dim=16, n_layers=1, n_heads=2, n_kv_heads=1, head_dim=4, vocab_size=32,"
        b" max_seq_len=8, norm_eps=1e-05, rope_theta=10000.0, tied=True, bos_id=1, end_ids=(2, 1))"
    )


def test_no_two_scalings_have_one_hash() -> None:
    more = [replace(SCALINGS["yarn"], attention_factor=1.25), LinearScaling(3.0)]  # type: ignore[type-var]
    configs = [ODD, *(replace(ODD, rope_scaling=scaling) for scaling in [*SCALINGS.values(), *more])]
    assert len({random_checkpoint(config).sha256 for config in configs}) == len(configs)
    assert len({quantized(random_checkpoint(config), "q8").sha256 for config in configs}) == len(configs)


@pytest.mark.parametrize("scaling", [LinearScaling(65536.0), TableScaling((65536.0,) * 512, 1 / 1024)])
def test_no_number_of_a_scaled_table_is_subnormal(scaling: RopeScaling) -> None:
    config = replace(ODD, rope_theta=1e9, head_dim=1024, rope_scaling=scaling)
    for table in rope_tables(config, 4096):
        assert flush_subnormals(table).tobytes() == table.tobytes()


@EACH
def test_a_quantised_model_keeps_its_scaling(scaling: RopeScaling, tmp_path: Path) -> None:
    held = quantized(random_checkpoint(replace(ODD, rope_scaling=scaling)), "q4")
    save_quantized(held, tmp_path / "model")
    read = load_quantized(tmp_path / "model")
    assert (read.config, read.sha256) == (held.config, held.sha256)
    assert read.rope_cos.tobytes() == held.rope_cos.tobytes()
    assert read.rope_sin.tobytes() == held.rope_sin.tobytes()


@EACH
@pytest.mark.parametrize("scheme", ["f32", "q8"])
def test_c_computes_what_numpy_does(scaling: RopeScaling, scheme: str, tmp_path: Path) -> None:
    """Past the original context, which is 16 or fewer positions."""
    model = quantized(random_checkpoint(replace(ODD, rope_scaling=scaling)), scheme)
    tokens = [(7 * position) % ODD.vocab_size for position in range(ODD.max_seq_len)]
    library = Library(model, tmp_path, "host")
    expected = Reference(model).feed(tokens)
    for token, row in zip(tokens, expected, strict=True):
        assert library.eval(token) == 0
        assert library.logits().tobytes() == row.tobytes()
    plain = Reference(quantized(random_checkpoint(), scheme)).feed(tokens)
    assert np.abs(plain - expected).max() > 1e-2 * np.ptp(plain)
