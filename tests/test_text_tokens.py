"""The rule for the tokens that begin and end a text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llgen.codegen.model.text_tokens import Claim, settle
from llgen.errors import LlgenError

ROWS = 10
NAMES = {0: "<unk>", 1: "<s>", 2: "</s>"}

CASES = {
    "all agree": (
        [Claim("t.model", bos=1, ends=(2,))],
        [Claim("config.json", bos=1, ends=(2,))],
        (1, (2, 1), []),
    ),
    "the tokenizer says what begins, both what ends": (
        [Claim("t.model", bos=1, ends=(2,))],
        [Claim("config.json", bos=0, ends=(1,))],
        (
            1,
            (2, 1),
            [
                "config.json begins a text with 0 '<unk>', t.model with 1 '<s>', which is what counts",
                "what ends a text differs, config.json with 1 '<s>', t.model with 2 '</s>':"
                " llgen ends it with 2 '</s>' and 1 '<s>'",
            ],
        ),
    ),
    "the tokenizer's settings come before its pieces": (
        [Claim("settings", bos=3), Claim("t.model", bos=1)],
        [],
        (3, (1, 3), ["t.model begins a text with 1 '<s>', settings with 3, which is what counts"]),
    ),
    "a beginning that is known and not added": (
        [Claim("settings", adds_bos=False), Claim("t.model", bos=1, ends=(2,))],
        [],
        (None, (2, 1), []),
    ),
    "a beginning that the model lists and the tokenizer never adds": (
        [Claim("settings", adds_bos=False), Claim("t.model", bos=1, ends=(2,))],
        [Claim("config.json", bos=1, ends=(2,))],
        (None, (2, 1), ["settings puts no token in front of a text, though config.json says what begins one"]),
    ),
    "a tokenizer that says nothing leaves it to the model": (
        [Claim("t.model")],
        [Claim("config.json", bos=4, ends=(5, 6))],
        (4, (5, 6, 4), []),
    ),
    "generation_config.json comes before config.json": (
        [],
        [Claim("generation_config.json", ends=(7, 8)), Claim("config.json", bos=1, ends=(7,))],
        (
            1,
            (7, 8, 1),
            [
                "what ends a text differs, generation_config.json with 7 and 8, config.json with 7:"
                " llgen ends it with 7, 8 and 1 '<s>'"
            ],
        ),
    ),
    "an end that no row has": (
        [],
        [Claim("config.json", ends=(2, 10))],
        (None, (2,), ["the model has the tokens 0 to 9, so that 10 never ends a text"]),
    ),
    "nothing is said": ([], [], (None, (), [])),
}


@pytest.mark.parametrize(("tokenizer", "model", "expected"), CASES.values(), ids=CASES)
def test_one_rule_settles_what_files_say(tokenizer, model, expected):
    found = settle(tokenizer, model, ROWS, lambda token: NAMES.get(token, ""))
    assert (found.bos_id, found.end_ids, list(found.remarks)) == expected


def test_a_beginning_that_no_row_has_is_refused():
    with pytest.raises(LlgenError, match="begins a text with token 10; the model has the tokens 0 to 9"):
        settle([], [Claim("config.json", bos=10)], ROWS)
    assert settle([Claim("t", adds_bos=False)], [Claim("config.json", bos=10)], ROWS).bos_id is None


IDS = st.one_of(st.none(), st.integers(0, ROWS - 1))
ENDS = st.one_of(st.none(), st.lists(st.integers(0, ROWS + 2), max_size=3).map(tuple))
CLAIMS = st.lists(st.builds(Claim, st.sampled_from("abc"), IDS, st.sampled_from([None, True, False]), ENDS), max_size=3)


@given(CLAIMS, CLAIMS)
def test_whatever_files_say_the_tokens_are_the_models_and_nothing_is_lost_in_silence(tokenizer, model):
    found = settle(tokenizer, model, ROWS)
    claims = [*tokenizer, *model]
    said = {claim.bos for claim in claims} - {None}
    assert found.bos_id is None or found.bos_id in said
    assert found.bos_id in (None, *found.end_ids)
    assert len(set(found.end_ids)) == len(found.end_ids)
    assert all(0 <= token < ROWS for token in found.end_ids)
    for claim in tokenizer:
        assert {token for token in claim.ends or () if token < ROWS} <= set(found.end_ids)
    ends = {frozenset(claim.ends) for claim in claims if claim.ends is not None}
    if found.remarks == ():
        assert len(said) < 2
        assert len({each - said for each in ends}) < 2
        assert found.bos_id is not None or not {claim.bos for claim in model} - {None}
