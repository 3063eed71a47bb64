"""Instruction sets: each is a folder whose facts are checked, and whose files it shares with those that it extends."""

import re

import numpy as np
import pytest

from llgen.codegen.build.folder import build_cached, expected_trace
from llgen.codegen.contract import matrix, numerics
from llgen.codegen.plan.tuning import Values
from llgen.codegen.quantise.quantize import quantized
from llgen.codegen.run.runner import run_selftest
from llgen.errors import LlgenError
from llgen.targets import instruction_sets
from llgen.targets.instruction_sets import Tile, load_set, parse_set, set_names


def test_the_sizes_of_the_arithmetic_are_those_of_the_contract():
    """The folder of targets imports nothing of codegen, so these two numbers stand in both."""
    assert (instruction_sets.LANES, instruction_sets.GROUP) == (numerics.LANES, matrix.GROUP)


@pytest.mark.parametrize("name", set_names())
def test_every_set_has_vocabularies_and_fits_the_lanes_of_a_sum(name):
    isa = load_set(name)
    assert re.fullmatch(r"[a-z][a-z0-9_]*", name)
    assert isa.line[0] == name
    assert isa.line[-1] == "scalar"
    assert instruction_sets.LANES % isa.lanes == 0
    assert isa.block_rows(True) % isa.lanes == 0
    assert "v_load" in isa.text_of("float.h")
    assert "i_mix" in isa.text_of("int.h")


def test_a_set_has_the_facts_and_files_of_those_that_it_extends():
    isa = load_set("soft_dsp")
    assert isa.line == ("soft_dsp", "soft_float", "simd32", "scalar")
    assert (isa.soft_float, isa.fixed_blocks, isa.lanes) == (True, True, 1)
    assert (isa.origin("float.h"), isa.origin("int.h")) == ("soft_float", "simd32")
    assert load_set("avxvnni").float_tiles == load_set("avx2").float_tiles == (Tile(6, 2), Tile(2, 4), Tile(1, 4))
    assert parse_set('extends = ["neon"]\nlanes = 2', "mine").lanes == 2


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ('extends = ["scalar"]\nlane = 2', "lane is not a key of an instruction set; did you mean 'lanes'", "int_mix"),
        ('extends = ["scalar"]\nlanes = 0', "lanes is wrong: Input should be greater than or equal to 1", "says what"),
        ('extends = ["scaler"]', "extends names 'scaler', which is no other instruction set; did you mean 'scal", ""),
        ('extends = ["mine"]', "extends names 'mine', which is no other instruction set", "llgen has: avx2"),
        ('extends = "scalar"', "extends is scalar, not a list", 'extends = ["scalar"]'),
        ("lanes = 4", "accumulators is wrong: Field required", "says what"),
        ("lanes = ", "is not valid TOML", "neon/isa.toml"),
        ('extends = ["scalar"]\nint_tiles = [[2]]', "int_tiles.0", "says what"),
    ],
)
def test_a_broken_set_is_refused_in_words(text, message, hint):
    with pytest.raises(LlgenError) as caught:
        parse_set(text, "mine")
    assert caught.value.message.startswith("'targets/isa/mine/isa.toml'")
    assert message in caught.value.message
    assert hint in (caught.value.hint or "")


def test_sets_that_extend_each_other_are_refused():
    with pytest.raises(LlgenError, match="extends names 'avx512vnni', which itself extends 'avx2'"):
        parse_set('extends = ["avx512vnni"]', "avx2")


def test_a_file_that_no_folder_has_is_an_error_with_the_folders():
    with pytest.raises(LlgenError, match=r"'neon64' has no bool\.h: none of targets/isa/neon64, neon, scalar has one"):
        load_set("neon64").origin("bool.h")


@pytest.mark.parametrize("name", set_names())
def test_a_layout_keeps_every_weight_in_whole_blocks(name):
    """Weights of one value make bytes of one value; and each weight alone changes one place."""
    isa = load_set(name)
    rows, columns = isa.block_rows(True) + 1, 33
    zeros = np.zeros((rows, columns), np.int8)
    for lay_out in (isa.layout.eight_bits, isa.layout.four_bits, lambda w: isa.layout.five_or_six_bits(w, 5)):
        empty = lay_out(zeros)
        assert len(empty) == 2
        seen = set()
        for row, column in ((0, 0), (0, 1), (1, 0), (rows - 1, columns - 1), (2, 32)):
            weights = zeros.copy()
            weights[row, column] = 1
            (place,) = np.flatnonzero((lay_out(weights) != empty).view(np.uint8))
            seen.add((int(place), int(lay_out(weights).ravel()[place]) ^ int(empty.ravel()[place])))
        assert len(seen) == 5


def test_a_biased_layout_has_no_sign_and_begins_below_zero():
    isa = load_set("avxvnni")
    weights = np.arange(-127, 128, dtype=np.int8).reshape(15, 17)
    assert isa.layout.largest_start(10) == 128 * 127 * 10
    plain = load_set("avx2").layout.eight_bits(weights)
    assert np.array_equal(isa.layout.eight_bits(weights).view(np.uint8).astype(int), plain.astype(int) + 128)


@pytest.mark.parametrize(("scheme", "kv"), [("f32", "f32"), ("q8", "q8"), ("q4", "q8")])
@pytest.mark.parametrize(("name", "processor"), [("soft_float", "riscv64"), ("simd32", "armv6")])
def test_sets_that_others_only_extend_make_programs_of_the_same_bits(name, processor, scheme, kv, odd, runnable):
    target = runnable(processor).model_copy(update={"isa": (name,)})
    model = quantized(odd, scheme, kv)
    for prefill in (1, 8):
        program = build_cached(model, target, tuning=Values(prefill=prefill)).artifact
        assert run_selftest(program, 40) == expected_trace(model, 40)
