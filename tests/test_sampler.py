"""The generated sampler against its twin in Python."""

import math

import numpy as np
import pytest
from generated import Library, SamplerStruct
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from models import ODD, random_checkpoint

from llgen.codegen.reference.sampler import Sampler

VOCAB = ODD.vocab_size
ERR_STATE = -5


@pytest.fixture(scope="module", params=["generic", "x86_64", "x86_64_v3"])
def library(request, tmp_path_factory):
    library = Library(random_checkpoint(), tmp_path_factory.mktemp("sampler"), request.param)
    library.eval(1)
    return library


# Few different values, so that ties are common.
LOGITS = hnp.arrays(
    np.float32,
    VOCAB,
    elements=st.one_of(st.sampled_from([-3.0, 0.0, 0.5, 7.0]), st.floats(-50, 50, width=32)),
    fill=st.sampled_from([-9.0, 0.0, 0.25]),
)
SETTINGS = st.builds(
    Sampler,
    temperature=st.sampled_from([0.0, 0.3, 1.0, 2.5, 1e-30, 1e30]),
    top_p=st.sampled_from([0.0, 0.01, 0.5, 0.9, 0.999, 1.0]),
    top_k=st.sampled_from([0, 1, 2, 40, VOCAB, 10**6]),
    seed=st.integers(0, 2**64 - 1),
)


@settings(max_examples=400)
@given(LOGITS, SETTINGS)
def test_same_seed_same_tokens(library, logits, how):
    library.set_logits(logits)
    struct = SamplerStruct(how.temperature, how.top_p, how.top_k, 0, how.seed)
    for _ in range(5):
        assert library.sample(struct) == how.sample(logits)
        assert struct.seed == how.seed


@settings(max_examples=100)
@given(LOGITS)
def test_greedy_takes_the_lowest_of_the_likeliest(library, logits):
    library.set_logits(logits)
    assert library.sample() == int(np.argmax(logits))
    assert library.sample(SamplerStruct(temperature=1.0, top_k=1)) == int(np.argmax(logits))


@settings(max_examples=100)
@given(
    hnp.arrays(np.float32, VOCAB, elements=st.sampled_from([np.nan, -np.inf, -1.0, -0.0, 0.0]), fill=st.just(np.nan))
)
def test_greedy_passes_over_what_is_no_number(library, logits):
    library.set_logits(logits)
    numbers = np.where(np.isnan(logits), -np.inf, logits)
    first = np.flatnonzero(~np.isnan(logits) & (logits == numbers.max()))
    assert library.sample() == (int(first[0]) if len(first) else ERR_STATE)


def test_shares_are_the_softmax(library):
    logits = np.full(VOCAB, -100, np.float32)
    logits[[3, 50, 300]] = [0.0, math.log(2.0), math.log(5.0)]
    library.set_logits(logits)
    how = SamplerStruct(temperature=1.0, seed=1)
    counts = np.bincount([library.sample(how) for _ in range(8000)], minlength=VOCAB)
    assert counts.sum() == counts[[3, 50, 300]].sum()
    np.testing.assert_allclose(counts[[3, 50, 300]] / 8000, [1 / 8, 2 / 8, 5 / 8], atol=0.02)


@pytest.mark.parametrize(
    "how",
    [
        SamplerStruct(temperature=math.nan),
        SamplerStruct(temperature=math.inf),
        SamplerStruct(temperature=1e-44),
        SamplerStruct(temperature=1.0, top_p=math.nan),
        SamplerStruct(temperature=1.0, top_p=-1.0),
        SamplerStruct(temperature=1.0, top_p=1e-44),
        SamplerStruct(temperature=1.0, top_k=-(2**31)),
    ],
)
@pytest.mark.parametrize("special", [math.nan, math.inf, -math.inf, 3e38])
def test_any_settings_and_logits_give_a_token(library, how, special):
    logits = np.zeros(VOCAB, np.float32)
    logits[7:9] = special
    library.set_logits(logits)
    assert 0 <= library.sample(how) < VOCAB


def test_no_number_among_the_logits(library):
    library.set_logits(np.full(VOCAB, math.nan, np.float32))
    assert library.sample() == -5
    assert library.sample(SamplerStruct(temperature=1.0)) == -5
