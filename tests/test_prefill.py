"""Prefill in blocks of positions: the bits of stepping, however a prompt is divided."""

from __future__ import annotations

import ctypes
import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from generated import Library, write_files
from hypothesis import given, settings
from hypothesis import strategies as st
from models import MIXED, ODD, four_bits_everywhere, of_many_forms, random_checkpoint

from llgen.codegen.compile.toolchain import compile_objects
from llgen.codegen.contract.numerics import CHUNK
from llgen.codegen.plan.blocking import MOST_POSITIONS, positions_of_block
from llgen.codegen.plan.fit import require_fit
from llgen.codegen.plan.memory import plan
from llgen.codegen.quantise.quantize import quantized
from llgen.codegen.reference.forward import Reference
from llgen.codegen.render.pipeline import generate
from llgen.codegen.run.emulator import missing_emulator
from llgen.errors import LlgenError, UsageError
from llgen.targets.instruction_sets import select
from llgen.targets.schema import load_target

# As models.ODD, whose heads end within a vector; here they are whole vectors, and three query heads share a key.
WHOLE = ODD.__class__(**{**ODD.__dict__, "dim": 96, "head_dim": 16, "tied": True})
MODELS = {"odd": ODD, "whole": WHOLE}
NUMBERS = [("f32", "f32"), ("q8", "f32"), ("q8", "q8"), ("q4", "q8")]
TARGETS = ["generic", "x86_64", "x86_64_v3", "x86_64_vnni", "x86_64_avx512vnni"]
BY_16, BY_256 = (quantized(random_checkpoint(replace(MIXED, dim=dim), name="mixed"), "q8") for dim in (144, 256))
FORMS = of_many_forms(random_checkpoint(replace(ODD, tied=True), name="forms"), embedding=6)
TOKENS = [(37 * i + 5) % ODD.vocab_size for i in range(ODD.max_seq_len)]


CASES = [("odd", *n, t) for n in NUMBERS for t in TARGETS] + [("whole", *n, "x86_64_v3") for n in NUMBERS]


@pytest.fixture(scope="module", params=CASES, ids="-".join)
def stepped(request, tmp_path_factory):
    """A model as a library, the logits of each position by stepping, and the keys and values that stepping left."""
    model, scheme, kv, name = request.param
    target = load_target(name)
    if missing_emulator(target):
        pytest.skip(missing_emulator(target))
    library = Library(
        random_checkpoint(MODELS[model]), tmp_path_factory.mktemp("prefill"), name, scheme=scheme, kv=kv, prefill=24
    )
    expected = []
    for token in TOKENS:
        assert library.eval(token) == 0
        expected.append(library.logits())
    return library, np.array(expected)


@settings(max_examples=40)
@given(st.lists(st.integers(0, ODD.max_seq_len), max_size=8))
def test_any_division_of_a_prompt_gives_the_bits_of_stepping(stepped, pieces):
    library, expected = stepped
    library.reset()
    done = 0
    for count in [*pieces, ODD.max_seq_len]:
        piece = TOKENS[done : done + count]
        assert library.prefill(piece) == 0
        done += len(piece)
        if done:
            np.testing.assert_array_equal(library.logits().view(np.uint32), expected[done - 1].view(np.uint32))
    assert library.tokens() == TOKENS


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize(
    "model", [four_bits_everywhere(), FORMS, BY_16, BY_256], ids=["4", "4, 5, 6 and 8", "mixed by 16", "mixed by 256"]
)
def test_other_forms_in_blocks(name, model, tmp_path):
    target = load_target(name)
    if missing_emulator(target):
        pytest.skip(missing_emulator(target))
    library = Library(model, tmp_path, name, prefill=24)
    tokens = TOKENS[: model.context]
    assert library.prefill(tokens) == 0
    assert library.logits().tobytes() == Reference(model).feed(tokens)[-1].tobytes()


@pytest.mark.parametrize("name", ["generic", "x86_64_v3", "x86_64_vnni", "x86_64_avx512vnni"])
def test_more_positions_than_one_whole_sum_holds(name, tmp_path):
    target = load_target(name)
    if missing_emulator(target):
        pytest.skip(missing_emulator(target))
    config = ODD.__class__(**{**ODD.__dict__, "max_seq_len": CHUNK + 25, "n_layers": 1})
    model = quantized(random_checkpoint(config), "q8", "q8")
    library = Library(model, tmp_path, name, prefill=24)
    tokens = [(37 * i + 5) % config.vocab_size for i in range(config.max_seq_len)]
    assert library.prefill(tokens[:-1]) == 0
    assert library.eval(tokens[-1]) == 0
    assert library.logits().tobytes() == Reference(model).feed(tokens)[-1].tobytes()


def test_a_prompt_that_is_refused_evaluates_nothing(stepped):
    library, expected = stepped
    library.reset()
    assert library.prefill(TOKENS[:30]) == 0
    for wrong, status in [([*TOKENS[:50], ODD.vocab_size], -3), ([*TOKENS[:44], -1], -2), (TOKENS[:46], -3)]:
        assert library.prefill(wrong) == status
    assert library.function("prefill")(library.state, None, ctypes.c_size_t(3)) == -1
    assert library.tokens() == TOKENS[:30]
    assert library.prefill([]) == 0
    np.testing.assert_array_equal(library.logits(), expected[29])
    assert library.prefill(TOKENS[30:]) == 0
    np.testing.assert_array_equal(library.logits(), expected[-1])


# ---------------------------------------------------------------------------------------------------------- planning


def test_hosts_take_blocks_and_microcontrollers_one_position():
    model = quantized(random_checkpoint())
    for name, more in (("x86_64_v3", True), ("wasm32_wasi", True), ("cortex_m4f", False), ("riscv32_imac", False)):
        target = load_target(name)
        assert (positions_of_block(model, select(target.isa), target) > 1) == more
        assert positions_of_block(model, select(target.isa), target, 5) == 5
    short = quantized(random_checkpoint(), context=3)
    assert positions_of_block(short, select(["avx2"]), load_target("x86_64_v3")) == 3


@pytest.mark.parametrize("asked", [0, -1, MOST_POSITIONS + 1])
def test_a_block_has_limits(asked):
    with pytest.raises(UsageError, match=f"1 to {MOST_POSITIONS}"):
        generate(random_checkpoint(), load_target("generic"), prefill=asked)


@pytest.mark.parametrize(("scheme", "kv"), NUMBERS)
@pytest.mark.parametrize("isa", ["scalar", "avx2", "avx512vnni", "dsp", "helium"])
def test_the_plan_counts_what_a_block_takes(isa, scheme, kv):
    """More positions take more room, each about as much as the one before; one alone takes none."""
    model, kernels = quantized(random_checkpoint(), scheme, kv), select([isa])
    assert plan(model, kernels).block is None
    sizes = [plan(model, kernels, positions=positions).ram_bytes for positions in (16, 32, 48, 64)]
    assert all(large > small for small, large in pairwise(sizes))
    assert plan(model, kernels).ram_bytes < sizes[0]


def test_a_block_that_does_not_fit_is_refused_with_what_would():
    target = load_target("cortex_m4f")
    model, kernels = quantized(random_checkpoint()), select(target.isa)
    room = plan(model, kernels).ram_bytes + target.firmware.stack_bytes + 8192
    regions = tuple(
        region.model_copy(update={"length": room}) if "state" in region.holds else region
        for region in target.firmware.memory
    )
    target = target.model_copy(update={"firmware": target.firmware.model_copy(update={"memory": regions})})
    require_fit(model, kernels, plan(model, kernels), target)
    with pytest.raises(LlgenError) as caught:
        require_fit(model, kernels, plan(model, kernels, positions=64), target)
    assert "--context" in caught.value.hint
    assert "smaller --prefill" in caught.value.hint


# ----------------------------------------------------------------------------------------------------- other machines


@pytest.mark.parametrize("isa", ["scalar", "serial", "dsp", "soft", "soft_narrow", "neon", "sse2", "avx2", "avxvnni"])
@pytest.mark.parametrize(("scheme", "kv"), NUMBERS)
def test_every_kernel_set_can_be_asked_for_a_block(isa, scheme, kv):
    """Of all, the C is made; those of this machine's instructions are run above, the others in tests/targets."""
    target = load_target("generic").model_copy(update={"isa": (isa,)})
    generation = generate(quantized(random_checkpoint(), scheme, kv), target, prefill=8)
    assert "PREFILL" in generation.files["odd_internal.h"].decode()


@pytest.mark.parametrize("isa", ["serial", "soft", "soft_rv32"])
@pytest.mark.parametrize("config", [ODD, MIXED], ids=["odd", "mixed"])
@pytest.mark.parametrize(("scheme", "kv"), NUMBERS)
def test_kernels_of_bare_machines_in_blocks(isa, config, scheme, kv, tmp_path):
    target = load_target("generic").model_copy(update={"isa": (isa,)})
    library = Library(random_checkpoint(config), tmp_path, target, scheme=scheme, kv=kv, prefill=8)
    for token in TOKENS[:20]:
        library.eval(token)
    expected = library.logits()
    library.reset()
    assert library.prefill(TOKENS[:20]) == 0
    np.testing.assert_array_equal(library.logits().view(np.uint32), expected.view(np.uint32))


@pytest.mark.skipif(not shutil.which("gcc"), reason="apt-get install gcc")
@pytest.mark.parametrize(("scheme", "kv"), NUMBERS)
@pytest.mark.parametrize("name", ["generic", "x86_64_avx512vnni"])
@pytest.mark.parametrize("compiler", [["gcc"], None], ids=["gcc", "zig"])
def test_no_warning_in_blocks(name, scheme, kv, compiler, tmp_path: Path):
    target = load_target(name)
    generation = generate(quantized(random_checkpoint(WHOLE), scheme, kv), target)
    write_files(generation, tmp_path)
    compile_objects(tmp_path, generation.model_sources[1:2], target, tmp_path, "-O2", compiler)
