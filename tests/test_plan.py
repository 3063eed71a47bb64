from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from models import ODD, random_checkpoint

from llgen.codegen.model.spec import lower
from llgen.codegen.pack.weights import column_blocks
from llgen.codegen.plan.arena import Demand, place
from llgen.codegen.plan.memory import plan
from llgen.codegen.plan.sizes import round_up
from llgen.codegen.quantise.quantize import quantize
from llgen.errors import ExitCode, LlgenError
from llgen.targets.instruction_sets import select


@st.composite
def demands(draw):
    spans = draw(
        st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(1, 1000)), min_size=1, max_size=9)
    )
    besides = st.one_of(st.none(), st.sampled_from([f"b{i}" for i in range(len(spans))]))
    return [Demand(f"b{i}", size, min(a, b), max(a, b), draw(besides)) for i, (a, b, size) in enumerate(spans)]


@given(demands())
def test_buffers_alive_together_never_overlap(wanted):
    buffers = place(wanted)
    assert [buffer.name for buffer in buffers] == [demand.name for demand in wanted]
    for i, a in enumerate(buffers):
        for b in buffers[:i]:
            together = a.first <= b.last and b.first <= a.last
            apart = a.offset + a.floats <= b.offset or b.offset + b.floats <= a.offset
            assert apart or not together


@given(demands())
def test_the_arena_is_no_larger_than_without_sharing(wanted):
    assert max(b.offset + b.floats for b in place(wanted)) <= sum(demand.floats for demand in wanted)


def test_a_buffer_stands_right_before_the_one_that_it_is_to_be_beside():
    """At the last multiple of 8 that leaves room; where another buffer stands, at the lowest fit."""
    demands = [Demand("a", 29, 0, 0), Demand("b", 4, 0, 1), Demand("c", 2, 1, 1, "b"), Demand("d", 2, 0, 0, "b")]
    assert [buffer.offset for buffer in place(demands)] == [0, 29, 24, 33]


@pytest.mark.parametrize("isa", ["scalar", "sse2", "avx2"])
def test_padding_covers_whole_blocks_and_lanes(isa):
    kernels = select([isa])
    memory = plan(quantize(lower(random_checkpoint()), "f32"), kernels)
    for padded, exact in [
        (memory.dim_rows, ODD.dim),
        (memory.hidden_padded, ODD.hidden_dim),
        (memory.qkv_padded, ODD.q_dim + 2 * ODD.kv_dim),
        (memory.vocab_padded, ODD.vocab_size),
    ]:
        assert padded % kernels.block_rows(False) == 0
        assert exact <= padded < exact + kernels.block_rows(False)
    assert memory.dim_padded % 8 == 0
    assert memory.dim_padded >= memory.dim_rows


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("drafts", [0, 3])
def test_integers_keep_a_normalised_vector_for_the_last_norm_alone(tied, drafts):
    """Products take integers, so only a gain of its own needs floats, when the buffers of layers are free again."""
    model = quantize(lower(random_checkpoint(replace(ODD, tied=tied))), "q8")
    memory = plan(model, select(["scalar"]), positions=1 + drafts, drafts=drafts)
    steps = [operation.name for operation in model.graph.operations]
    spans = {buffer.name: (steps[buffer.first], steps[buffer.last]) for buffer in memory.buffers}
    sizes = {buffer.name: buffer.floats for buffer in memory.buffers}
    assert spans.get("n") == (("final_norm", "final_norm") if tied else None)
    assert sizes.get("n", 0) == tied * (1 + drafts) * memory.dim_padded
    arena = next(member.count for member in memory.members if member.name == "arena")
    layer = max(sizes["scores"] + sizes["mixed"] + sizes["qkv"], sizes["h"])
    assert arena == max(sizes["x"] + layer, sizes["odds"])


def test_floats_keep_a_normalised_vector_from_the_first_norm_to_the_last_product():
    model = quantize(lower(random_checkpoint()), "f32")
    steps = [operation.name for operation in model.graph.operations]
    found = next(buffer for buffer in plan(model, select(["scalar"])).buffers if buffer.name == "n")
    assert (steps[found.first], steps[found.last]) == ("attention_norm", "classify")


def test_a_state_beyond_32_bits_does_not_fit():
    config = replace(ODD, max_seq_len=1 << 20, n_layers=64, head_dim=24)
    model = quantize(lower(random_checkpoint(config), 1 << 20), "f32")
    with pytest.raises(LlgenError, match="the state in RAM takes") as caught:
        plan(model, select(["scalar"]))
    assert caught.value.exit_code == ExitCode.DOES_NOT_FIT
    assert "--context" in caught.value.hint


@given(st.integers(1, 40), st.integers(1, 10), st.sampled_from([4, 16, 32]))
def test_column_blocks_keep_every_weight(rows, columns, block):
    matrix = np.arange(1, rows * columns + 1, dtype=np.float32).reshape(rows, columns)
    blocks = column_blocks(matrix, block)
    assert blocks.shape == (round_up(rows, block) // block, columns, block)
    for row in range(blocks.shape[0] * block):
        expected = matrix[row] if row < rows else np.zeros(columns)
        assert blocks[row // block, :, row % block].tolist() == expected.tolist()
