import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from models import ODD, random_checkpoint

from llgen.codegen.arena import Demand, place
from llgen.codegen.errors import ExitCode, LlgenError
from llgen.codegen.kernels import select
from llgen.codegen.pack import column_blocks
from llgen.codegen.plan import plan
from llgen.codegen.quantize import quantize
from llgen.codegen.sizes import round_up
from llgen.codegen.spec import lower


@st.composite
def demands(draw):
    spans = draw(
        st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(1, 1000)), min_size=1, max_size=9)
    )
    return [Demand(f"b{i}", size, min(a, b), max(a, b)) for i, (a, b, size) in enumerate(spans)]


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


def test_a_state_beyond_32_bits_does_not_fit():
    config = ODD.__class__(**{**ODD.__dict__, "max_seq_len": 1 << 20, "n_layers": 64, "head_dim": 24})
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
