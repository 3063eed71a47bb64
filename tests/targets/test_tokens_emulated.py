"""Padding, and texts without a beginning, on machines of every kind: the tokens and digests of the reference."""

from dataclasses import replace

import pytest
from models import ODD, random_checkpoint, trained_vocabulary

from llgen.codegen.build.folder import build_cached, expected_trace
from llgen.codegen.model.checkpoint import Checkpoint
from llgen.codegen.model.vocabulary import Kind, Piece, Vocabulary
from llgen.codegen.quantise.quantize import quantized
from llgen.codegen.run.runner import run_selftest

TARGETS = ["generic", "x86_64_v3", "aarch64", "wasm32_wasi", "cortex_m0plus", "cortex_m4f"]


def padded(*, holes: bool) -> Vocabulary:
    more = [Piece("[PAD420]", 0.0, Kind.UNUSED), Piece("<end>", 0.0, Kind.CONTROL)] if holes else []
    return trained_vocabulary().with_pieces(more).padded(437)


def likes_padding(vocabulary: Vocabulary) -> Checkpoint:
    """Without a beginning, and with three ends."""
    config = replace(ODD, vocab_size=len(vocabulary), bos_id=None, end_ids=(2, 1, 300))
    checkpoint = random_checkpoint(config, name="padded", vocabulary=vocabulary)
    classifier = checkpoint.tensors["lm_head.weight"].copy()
    classifier[list(vocabulary.padding)] *= 3
    return replace(checkpoint, tensors={**checkpoint.tensors, "lm_head.weight": classifier})


@pytest.mark.parametrize(("scheme", "holes"), [("f32", False), ("q8", True)], ids=["behind", "between"])
@pytest.mark.parametrize("name", TARGETS)
def test_padding_is_passed_over_alike_everywhere(name, scheme, holes, runnable):
    vocabulary = padded(holes=holes)
    model = quantized(likes_padding(vocabulary), scheme)
    expected = expected_trace(model, 20)
    assert expected.tokens[0] == 2
    assert not set(expected.tokens) & set(vocabulary.padding)
    assert run_selftest(build_cached(model, runnable(name)).artifact, 20) == expected
