"""Rows of a model that are no tokens: they have names and logits, no text becomes them, and no choice falls on them."""

from dataclasses import replace

import numpy as np
import pytest
from generated import Library, SamplerStruct
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from models import ODD, random_checkpoint, trained_vocabulary

from llgen.codegen.model.checkpoint import Checkpoint
from llgen.codegen.model.vocabulary import Kind, Piece, Vocabulary
from llgen.codegen.quantise.padding import Padding
from llgen.codegen.quantise.quantize import quantized
from llgen.codegen.reference.forward import selftest
from llgen.codegen.reference.sampler import Sampler

PIECES, ROWS = 420, 450


def padded_behind() -> Vocabulary:
    return trained_vocabulary().padded(ROWS)


def padded_between() -> Vocabulary:
    """Two rows of padding in front of an added token, one behind it, and the rest at the end."""
    between = [Piece(f"[PAD{row}]", 0.0, Kind.UNUSED) for row in (PIECES, PIECES + 1, PIECES + 3)]
    tokens = [Piece("<end>", 0.0, Kind.CONTROL), Piece("<then>", 0.0, Kind.CONTROL)]
    return trained_vocabulary().with_pieces([*between[:2], tokens[0], between[2], tokens[1]]).padded(ROWS)


def padded_checkpoint(vocabulary: Vocabulary, **changes: object) -> Checkpoint:
    """A model that would choose its padding most of the time."""
    config = replace(ODD, vocab_size=len(vocabulary), **changes)
    checkpoint = random_checkpoint(config, name="padded", vocabulary=vocabulary)
    classifier = checkpoint.tensors["lm_head.weight"].copy()
    classifier[list(vocabulary.padding)] *= 3
    return replace(checkpoint, tensors={**checkpoint.tensors, "lm_head.weight": classifier})


VOCABULARIES = {"behind": padded_behind, "between": padded_between}


@pytest.fixture(scope="module", params=VOCABULARIES)
def vocabulary(request):
    return VOCABULARIES[request.param]()


@pytest.fixture(scope="module", params=["generic", "x86_64", "soft"])
def library(request, vocabulary, tmp_path_factory):
    target = "cortex_m0plus" if request.param == "soft" else request.param
    library = Library(padded_checkpoint(vocabulary), tmp_path_factory.mktemp("padded"), target)
    library.eval(1)
    return library


def test_where_padding_lies():
    assert Padding.among((), 10) == Padding(10, ())
    assert Padding.among((8, 9), 10) == Padding(8, ())
    assert Padding.among((2, 3, 5, 9), 10) == Padding(9, (range(2, 4), range(5, 6)))
    assert Padding.among((2, 3), 10) == Padding(10, (range(2, 4),))
    assert padded_behind().padding == tuple(range(PIECES, ROWS))
    assert set(range(PIECES, ROWS)) - set(padded_between().padding) == {PIECES + 2, PIECES + 4}


def test_only_an_unused_piece_of_the_name_of_its_row_is_padding():
    more = [Piece("[PAD421]", 0.0, Kind.UNUSED), Piece("[PAD422]", 0.0, Kind.NORMAL), Piece("[PAD]", 0.0, Kind.UNUSED)]
    assert trained_vocabulary().with_pieces(more).padding == ()


def test_a_name_that_a_piece_has_already_is_not_given_to_padding():
    taken = trained_vocabulary().with_pieces(
        [Piece("[PAD421]", 0.0, Kind.NORMAL), Piece("[PAD422]'", 0.0, Kind.NORMAL)]
    )
    padded = taken.padded(424)
    assert [piece.text for piece in padded.pieces[422:]] == ["[PAD422]", "[PAD423]"]
    assert padded.padding == (422, 423)
    taken = trained_vocabulary().with_pieces([Piece("[PAD421]", 0.0, Kind.NORMAL)])
    assert taken.padded(422).padding == (421,)
    assert taken.padded(422).pieces[421].text == "[PAD421]'"


LOGITS = hnp.arrays(
    np.float32,
    ROWS,
    elements=st.one_of(st.sampled_from([-3.0, 0.0, 0.5, 7.0]), st.floats(-50, 50, width=32)),
    fill=st.sampled_from([-9.0, 0.0, 0.25]),
)
SETTINGS = st.builds(
    Sampler,
    temperature=st.sampled_from([0.0, 0.3, 1.0, 2.5]),
    top_p=st.sampled_from([0.0, 0.01, 0.5, 0.9, 1.0]),
    top_k=st.sampled_from([0, 1, 2, 40, ROWS]),
    seed=st.integers(0, 2**64 - 1),
)


@settings(max_examples=200)
@given(LOGITS, SETTINGS, st.sampled_from([0.0, 1.0, 60.0, 1e30, np.inf, np.nan]))
def test_padding_is_never_chosen(library, vocabulary, logits, how, above):
    padding = list(vocabulary.padding)
    logits[padding] += np.float32(above)
    library.set_logits(logits)
    struct = SamplerStruct(how.temperature, how.top_p, how.top_k, 0, how.seed)
    twin = replace(how, padding=vocabulary.padding)
    for _ in range(5):
        chosen = library.sample(struct)
        assert chosen not in padding
        assert chosen == twin.sample(logits)


def test_no_choice_when_only_padding_has_a_number(library, vocabulary):
    logits = np.full(ROWS, np.nan, np.float32)
    logits[list(vocabulary.padding)] = 1.0
    library.set_logits(logits)
    assert library.sample() == library.sample(SamplerStruct(temperature=1.0)) == -5


def test_padding_has_a_name_and_logits_and_no_text_becomes_it(library, vocabulary):
    for row in vocabulary.padding:
        assert library.decode(5, row) == f"[PAD{row}]".encode()
        assert row not in library.encode(f"[PAD{row}]".encode())
    assert len(library.logits()) == ROWS
    assert library.function("eval")(library.state, PIECES) == 0


def test_greedy_decoding_in_python_passes_over_padding(vocabulary):
    checkpoint = padded_checkpoint(vocabulary)
    model = quantized(checkpoint)
    trace = selftest(model, 40)
    assert not set(trace.tokens) & set(vocabulary.padding)
    bare = quantized(replace(checkpoint, vocabulary=None))
    assert set(selftest(bare, 40).tokens) & set(vocabulary.padding)


def test_nothing_is_generated_for_a_model_without_padding(tmp_path):
    library = Library(random_checkpoint(replace(ODD, vocab_size=PIECES), vocabulary=trained_vocabulary()), tmp_path)
    text = library.generation.files["odd.c"].decode()
    assert "CHOICES" not in text
    assert "is_hole" not in text
