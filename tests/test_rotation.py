"""Rotated channels: the same function, and less lost by rounding it."""

from dataclasses import replace

import numpy as np
import pytest
from models import MIXED, ODD, random_checkpoint

from llgen.codegen.model.spec import lower
from llgen.codegen.quantise.fold import fold
from llgen.codegen.quantise.quantize import quantized, round_to_nearest
from llgen.codegen.quantise.rotation import gain_block, stream_block
from llgen.codegen.reference.forward import Reference
from llgen.codegen.words.butterflies import passes_of
from llgen.errors import UsageError

TOKENS = [(37 * i + 5) % ODD.vocab_size for i in range(30)]


@pytest.mark.parametrize(
    ("dim", "tied", "block"),
    [(36, True, 1), (64, True, 1), (64, False, 64), (128, True, 128), (136, True, 1), (192, True, 64), (288, True, 32)],
)
def test_blocks_are_the_largest_powers_of_two(dim, tied, block):
    """Of 16 and more; a narrow model whose embedding is its classifier keeps its stream as it is."""
    config = replace(ODD, dim=dim, tied=tied)
    assert stream_block(config) == block
    assert gain_block(config, "q8") == (block if tied else 1)
    assert gain_block(config, "f32") == 1


def test_float32_keeps_its_channels():
    spec = lower(random_checkpoint(MIXED))
    plain, whole = fold(spec, "f32"), fold(spec, "q8")
    assert plain.matrices["embedding"].tobytes() == spec.embedding.tobytes()
    assert all(np.abs(whole.matrices[name] - values).max() > 0.01 for name, values in plain.matrices.items())
    with pytest.raises(UsageError, match="no scheme 'q9'"):
        fold(spec, "q9")


@pytest.mark.parametrize("block", [1, 16, 32, 64, 128, 512])
def test_passes_do_every_step_once(block):
    strides = [each.stride << step for each in passes_of(block) for step in range(each.count.bit_length() - 1)]
    assert strides == [1 << step for step in range(block.bit_length() - 1)]
    assert [each.source for each in passes_of(block)] == ["from", "to", "to", "to"][: len(passes_of(block))]


def test_the_size_of_a_block_is_part_of_the_gain():
    checkpoint = random_checkpoint(MIXED)
    plain, whole = (fold(lower(checkpoint), scheme) for scheme in ("f32", "q8"))
    assert (plain.gain_block, whole.gain_block) == (1, 32)
    assert (whole.final_gain * 32).tobytes() == plain.final_gain.tobytes()
    untied = fold(lower(random_checkpoint(replace(MIXED, tied=False))), "q8")
    assert (untied.gain_block, untied.final_gain) == (1, None)  # all of it is in the classifier


def test_a_channel_that_stands_out_costs_less():
    """It takes most of the steps of every vector, when it is not mixed with others."""
    checkpoint = random_checkpoint(MIXED)
    tensors = {name: values.copy() for name, values in checkpoint.tensors.items()}
    tensors["model.embed_tokens.weight"][:, 5] *= 40.0
    tensors["model.norm.weight"][5] /= 40.0
    checkpoint = replace(checkpoint, tensors=tensors)
    exact = Reference(quantized(checkpoint)).feed(TOKENS)
    whole = quantized(checkpoint, "q8")
    plain = round_to_nearest(replace(fold(lower(checkpoint), "f32"), scheme="q8"))
    assert (whole.gain_block, plain.gain_block) == (32, 1)
    error, plain_error = (np.square(Reference(model).feed(TOKENS) - exact).mean() for model in (whole, plain))
    assert error < 0.5 * plain_error
