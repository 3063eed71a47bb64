"""The operators in C compared with PyTorch's: values and gradients, also for sizes that are no multiple of a vector."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from runs import tiny_config
from torch import Tensor

from llgen.codegen.model.config import ModelConfig
from llgen.errors import LlgenError
from llgen.notices import gathered
from llgen.trainer import choices, library
from llgen.trainer.checkpoint import LAST, read_checkpoint
from llgen.trainer.fused import FusedOperators
from llgen.trainer.model import rope_tables
from llgen.trainer.operators import Operators
from llgen.trainer.processes import Processes
from llgen.trainer.run import CONFIG, train

OURS, THEIRS = FusedOperators(), Operators()
SIZES = st.integers(1, 70)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def assert_same(ours: Callable[..., Tensor], theirs: Callable[..., Tensor], *inputs: Tensor) -> None:
    """The value and all gradients of a function, for a random gradient of its value."""
    first, second = ([each.clone().requires_grad_(each.is_floating_point()) for each in inputs] for _ in range(2))
    mine, wanted = ours(*first), theirs(*second)
    weights = torch.randn_like(wanted)
    mine.backward(weights)
    wanted.backward(weights)
    torch.testing.assert_close(mine, wanted, rtol=1e-5, atol=1e-5)
    for one, other in zip(first, second, strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=2e-5)


@given(rows=SIZES, size=SIZES, seed=st.integers(0, 99))
def test_rms_norm(rows: int, size: int, seed: int) -> None:
    torch.manual_seed(seed)
    x, gain = torch.randn(2, rows, size), torch.randn(size)
    assert_same(lambda x, g: OURS.rms_norm(x, g, 1e-5), lambda x, g: THEIRS.rms_norm(x, g, 1e-5), x, gain)


@given(rows=SIZES, size=SIZES, seed=st.integers(0, 99))
def test_swiglu(rows: int, size: int, seed: int) -> None:
    torch.manual_seed(seed)
    assert_same(OURS.swiglu, THEIRS.swiglu, 30.0 * torch.randn(rows, size), torch.randn(rows, size))


@given(rows=SIZES, classes=st.integers(2, 70), seed=st.integers(0, 99))
def test_cross_entropy(rows: int, classes: int, seed: int) -> None:
    torch.manual_seed(seed)
    targets = torch.randint(0, classes, (2, rows))
    logits = 8.0 * torch.randn(2, rows, classes)
    assert_same(lambda x: OURS.cross_entropy(x, targets), lambda x: THEIRS.cross_entropy(x, targets), logits)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(("heads", "kv_heads", "head_dim"), [(4, 2, 8), (2, 1, 6), (3, 3, 20), (2, 2, 32)])
@pytest.mark.parametrize("time", [1, 7, 16, 61])
def test_attention(threads: int, heads: int, kv_heads: int, head_dim: int, time: int) -> None:
    torch.set_num_threads(threads)
    config = ModelConfig(
        dim=heads * head_dim, hidden_dim=4, n_layers=1, n_heads=heads, n_kv_heads=kv_heads, head_dim=head_dim,
        vocab_size=3, max_seq_len=time,
    )  # fmt: skip
    cos, sin = rope_tables(config)
    q = torch.randn(3, time, heads, head_dim)
    k, v = torch.randn(3, time, kv_heads, head_dim), torch.randn(3, time, kv_heads, head_dim)
    assert_same(
        lambda q, k, v: OURS.attention(q, k, v, cos, sin), lambda q, k, v: THEIRS.attention(q, k, v, cos, sin), q, k, v
    )


def test_work_is_divided_among_threads_without_changing_a_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    x, gain = torch.randn(64, 33), torch.randn(33)
    alone = OURS.rms_norm(x, gain, 1e-5)
    monkeypatch.setattr("llgen.trainer.fused._WORTH_A_THREAD", 1)
    torch.set_num_threads(3)
    assert torch.equal(OURS.rms_norm(x, gain, 1e-5), alone)


def test_what_is_no_float32_goes_to_pytorch() -> None:
    x = torch.randn(4, 8, dtype=torch.float64)
    assert OURS.swiglu(x, x).dtype == torch.float64
    with torch.autocast("cpu", torch.bfloat16):
        assert OURS.rms_norm(torch.randn(4, 8), torch.ones(8), 1e-5).isfinite().all()


def test_a_run_learns_the_same_with_either(tmp_path: Path) -> None:
    losses, learned = [], []
    for fused in (False, True):
        config = tiny_config({"hardware": {"fused": fused}})
        losses.append(train(tmp_path / str(fused), config).held_out_loss)
        learned.append(read_checkpoint(tmp_path / str(fused) / LAST)["model"])
    assert not all(torch.equal(learned[0][name], learned[1][name]) for name in learned[0])  # the operators differ
    assert losses[1] == pytest.approx(losses[0], abs=2e-3)


def test_a_run_keeps_its_choice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(tmp_path, tiny_config(), stop_after=1)
    assert '"fused": true' in (tmp_path / CONFIG).read_text(encoding="utf-8")
    monkeypatch.setattr(choices, "_fuses", lambda config, processes: pytest.fail("decided anew"))
    train(tmp_path, tiny_config(), stop_after=1)


def test_without_a_compiler_a_run_uses_pytorch_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(head_dim: int) -> None:
        raise LlgenError("the compiler failed: no disk\nand more")

    monkeypatch.setattr(choices, "library", fails)
    with gathered() as said:
        chosen = choices.with_choices(tiny_config(), Processes())
    assert chosen.hardware.fused is False
    assert said == ["training with PyTorch's operators only, which is slower: the compiler failed: no disk"]
    with pytest.raises(LlgenError, match="no disk"):
        choices.with_choices(tiny_config({"hardware": {"fused": True}}), Processes())


def test_one_processors_code_is_not_taken_for_anothers(monkeypatch: pytest.MonkeyPatch) -> None:
    here = library.compiled(8)
    monkeypatch.setattr(library, "_processor", lambda: "another")
    assert library.compiled(8) != here
