"""Rotated channels: the same function, and less lost by rounding it."""

from dataclasses import replace

import numpy as np
import pytest
from models import ODD, ROTATED, random_checkpoint

from llgen.codegen.fold import fold
from llgen.codegen.pipeline import quantized
from llgen.codegen.quantize import round_to_nearest
from llgen.codegen.reference import Reference
from llgen.codegen.rotation import passes_of, stream_block
from llgen.codegen.spec import lower

TOKENS = [(37 * i + 5) % ODD.vocab_size for i in range(30)]


@pytest.mark.parametrize(
    ("dim", "block"), [(36, 1), (64, 1), (112, 1), (128, 128), (136, 1), (144, 16), (192, 64), (288, 32), (768, 256)]
)
def test_blocks_are_the_largest_powers_of_two(dim, block):
    assert stream_block(replace(ODD, dim=dim)) == block


def test_narrow_models_are_left_alone():
    plain, whole = (fold(lower(random_checkpoint(replace(ODD, dim=64, head_dim=32))), each) for each in ("f32", "q8"))
    assert all(whole.matrices[name].tobytes() == values.tobytes() for name, values in plain.matrices.items())


@pytest.mark.parametrize("block", [1, 16, 32, 64, 128, 512])
def test_passes_do_every_step_once(block):
    strides = [each.stride << step for each in passes_of(block) for step in range(each.count.bit_length() - 1)]
    assert strides == [1 << step for step in range(block.bit_length() - 1)]


def test_the_scale_of_a_block_is_part_of_the_gain():
    checkpoint = random_checkpoint(ROTATED)
    plain, rotated = (fold(lower(checkpoint), scheme) for scheme in ("f32", "q8"))
    assert (plain.hadamard_block, rotated.hadamard_block) == (1, 16)
    assert (rotated.final_gain * 16).tobytes() == plain.final_gain.tobytes()
    untied = fold(lower(random_checkpoint(replace(ROTATED, tied=False))), "q8")
    assert (untied.hadamard_block, untied.final_gain) == (1, None)  # all of it is in the classifier


@pytest.mark.parametrize("tied", [True, False])
def test_lengths_stay(tied):
    spec = lower(random_checkpoint(replace(ROTATED, tied=tied)))
    plain, rotated = (fold(spec, scheme).matrices for scheme in ("f32", "q8"))
    assert plain.keys() == rotated.keys()
    for name in plain:
        kind = name.partition(".")[0]
        axis = 0 if kind in ("wo", "w2") else 1  # that of the residual stream
        lengths = [np.linalg.norm(matrices[name].astype(np.float64), axis=axis) for matrices in (plain, rotated)]
        if kind == "wo":  # its columns are mixed, too
            lengths = [np.linalg.norm(each) for each in lengths]
        if kind == "wqkv":  # and the rows of values
            lengths = [each[: ROTATED.q_dim + ROTATED.kv_dim] for each in lengths]
        np.testing.assert_allclose(lengths[0], lengths[1], rtol=1e-5)
        assert np.abs(plain[name] - rotated[name]).max() > 0.01


def test_a_channel_that_stands_out_costs_less():
    """It takes most of the steps of every vector, when it is not mixed with others."""
    checkpoint = random_checkpoint(ROTATED)
    tensors = {name: values.copy() for name, values in checkpoint.tensors.items()}
    tensors["model.embed_tokens.weight"][:, 5] *= 40.0
    tensors["model.norm.weight"][5] /= 40.0
    checkpoint = replace(checkpoint, tensors=tensors)
    exact = Reference(quantized(checkpoint)).feed(TOKENS)
    rotated = quantized(checkpoint, "q8")
    plain = round_to_nearest(fold(lower(checkpoint), "f32"), "q8")
    assert (rotated.hadamard_block, plain.hadamard_block) == (16, 1)
    error, plain_error = (np.square(Reference(model).feed(TOKENS) - exact).mean() for model in (rotated, plain))
    assert error < 0.5 * plain_error
