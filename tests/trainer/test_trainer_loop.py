"""Runs that are started, interrupted, continued, refused; with a model that is small enough to train in a test."""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from limits import largest_file
from runs import STORIES, TINY, StopAt, course, metrics, tiny_config

from llgen.codegen.formats.hf.directory import load_checkpoint
from llgen.errors import LlgenError
from llgen.trainer.demo import train_demo
from llgen.trainer.export import export_run, load_run
from llgen.trainer.layers import layered, read_preset
from llgen.trainer.model import Llama
from llgen.trainer.objective import Objective
from llgen.trainer.operators import Operators, cross_entropy
from llgen.trainer.prepare import prepared
from llgen.trainer.processes import Processes
from llgen.trainer.progress import Silent
from llgen.trainer.replicas import Replicas
from llgen.trainer.run import clear_run, train
from llgen.trainer.train import Trainer

VARIANTS: dict[str, dict[str, Any]] = {
    "muon": {},
    "adamw": {"optimizer": {"name": "adamw"}},
    "accumulation": {"batch": {"accumulation": 2}},
    "replicas": {"hardware": {"replicas": 2}},
    "moving average": {"optimizer": {"ema": 0.9}},
    "dropout": {"batch": {"dropout": 0.2}},
    "bfloat16": {"hardware": {"dtype": "bfloat16"}},
    "aligned": {"batch": {"aligned": 0.5}},
}


def test_learns(tmp_path: Path) -> None:
    result = train(tmp_path, tiny_config({"schedule": {"iterations": 60}}))
    lines = metrics(tmp_path)
    assert lines[0]["loss"] == pytest.approx(math.log(TINY.vocab_size), abs=0.1)
    assert result.held_out_loss < lines[0]["loss"] - 1.0
    assert [line["iter"] for line in lines] == list(range(1, 61))
    assert all(line["tokens_per_second"] > 0 and line["memory_bytes"] > 1 << 20 for line in lines)
    assert [line["iter"] for line in lines if "held_out_loss" in line] == [7, 14, 21, 28, 35, 42, 49, 56, 60]
    assert (result.iteration, result.interrupted) == (60, False)
    whole = [line["held_out_loss"] for line in lines[30:] if "held_out_loss" in line]  # sequences of full length
    assert result.kept.loss == min(whole)
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert list((tmp_path / "tensorboard").glob("events.*"))


@pytest.mark.parametrize(("aligned", "all_begin"), [(1.0, True), (0.0, False)])
def test_what_is_held_out_begins_as_what_is_learned(tmp_path: Path, aligned: float, all_begin: bool) -> None:
    """A model that was trained only on short sequences must be evaluated on short sequences."""
    config = tiny_config({"batch": {"aligned": aligned}, "schedule": {"iterations": 1}})
    train(tmp_path, config)
    ready = prepared(config, tmp_path)
    trainer = Trainer(tmp_path, config, ready.data, ready.vocabulary, Processes())
    begin = [bool((inputs[:, 0] == ready.vocabulary.bos_id).all()) for inputs, _ in trainer.held_out]
    assert all(begin) == all_begin


@pytest.mark.parametrize("variant", VARIANTS)
def test_going_on_gives_the_same_course_as_no_break(tmp_path: Path, variant: str) -> None:
    config = tiny_config(VARIANTS[variant])
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    train(straight, config)
    first = train(broken, config, StopAt(10))
    assert (first.interrupted, first.iteration) == (True, 10)
    assert train(broken, config, stop_after=3).iteration == 13
    second = train(broken, config)
    assert (second.interrupted, second.iteration) == (False, 20)
    assert course(broken) == course(straight)
    ours, theirs = load_run(broken), load_run(straight)
    assert all((tensor == theirs.tensors[name]).all() for name, tensor in ours.tensors.items())


def test_a_kill_loses_only_what_came_after_the_checkpoint(tmp_path: Path) -> None:
    config = tiny_config()
    train(tmp_path / "straight", config)
    train(tmp_path / "other", config, stop_after=14)
    with (tmp_path / "other" / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"iter": 15, "loss": 99.0}\n{"iter": 16, "lo')  # killed while writing
    train(tmp_path / "other", config)
    assert course(tmp_path / "other") == course(tmp_path / "straight")


def test_a_new_end_goes_further(tmp_path: Path) -> None:
    train(tmp_path, tiny_config())
    assert train(tmp_path, tiny_config({"schedule": {"iterations": 25}})).iteration == 25


def test_a_time_budget_is_kept_and_the_rate_comes_down(tmp_path: Path) -> None:
    result = train(tmp_path, tiny_config({"schedule": {"minutes": 1 / 60}, "evaluation": {"interval": 10**6}}))
    rates = [line["lr"] for line in metrics(tmp_path)]
    assert 1.0 <= result.seconds < 3.0
    assert max(rates) > 0.8 * 0.02
    assert rates[-1] < 0.3 * max(rates)


def test_replicas_compute_what_one_model_does(tmp_path: Path) -> None:
    one, three = tmp_path / "one", tmp_path / "three"
    train(one, tiny_config())
    train(three, tiny_config({"hardware": {"replicas": 3}}))
    for ours, theirs in zip(metrics(three), metrics(one), strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-4)


@pytest.fixture
def replicas() -> Iterator[Replicas]:
    model = Llama(TINY)
    with closing(Replicas(model, partial(Llama, TINY), Objective(Operators()), 2, torch.float32)) as made:
        yield made


def test_what_goes_wrong_in_a_replica_is_told(replicas: Replicas) -> None:
    good = torch.zeros(2, 8, dtype=torch.long)
    bad = good.clone()
    bad[1] = TINY.vocab_size
    with pytest.raises(LlgenError, match="a replica failed: index out of range"):
        replicas.add(bad, good, 1.0)
    assert replicas.add(good, good, 1.0) > 0.0


def test_a_replica_that_was_killed_is_missed(replicas: Replicas) -> None:
    tokens = torch.zeros(2, 8, dtype=torch.long)
    replicas.add(tokens, tokens, 1.0)
    for process in multiprocessing.active_children():
        process.kill()
    with pytest.raises(LlgenError, match=r"a replica ended \(exit code -9\)"):
        replicas.add(tokens, tokens, 1.0)


def test_accumulation_equals_a_larger_batch() -> None:
    torch.manual_seed(0)
    model = Llama(TINY)
    inputs = torch.randint(TINY.vocab_size, (4, 9))
    cross_entropy(model(inputs[:, :-1]), inputs[:, 1:]).backward()
    whole = {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}
    model.zero_grad()
    for half in inputs.split(2):
        (cross_entropy(model(half[:, :-1]), half[:, 1:]) / 2).backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, whole[name], rtol=1e-4, atol=1e-6)


def test_training_leaves_the_callers_random_state_alone(tmp_path: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    train(tmp_path, tiny_config({"schedule": {"iterations": 1}}))
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize("room", [-1000, 2000], ids=["no room for the checkpoint", "for nothing"])
def test_a_full_disk_ends_a_run_in_one_line_and_the_same_command_goes_on(tmp_path: Path, room: int) -> None:
    run = tmp_path / "run"
    train(tmp_path / "whole", tiny_config())
    train(run, tiny_config(), stop_after=7)
    before = (run / "last.pt").read_bytes()
    size = room if room > 0 else len(before) + room
    with largest_file(size), pytest.raises(LlgenError, match=r"^cannot write '.*\.pt': a file may have") as caught:
        train(run, tiny_config())
    assert "\n" not in caught.value.message
    assert not list(run.glob(".*"))
    assert (run / "last.pt").read_bytes() == before
    train(run, tiny_config())
    assert course(run) == course(tmp_path / "whole")


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # from PyTorch's compiler
def test_compiled_training_agrees_and_repeats_to_the_last_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise two threads would sum the gradient of the embedding in the order in which they finish."""
    monkeypatch.setattr("llgen.trainer.train.is_narrow", lambda dim: False)
    monkeypatch.setattr("llgen.trainer.train.cores", lambda: 2)
    few = {"schedule": {"iterations": 4}, "batch": {"growth": 0.0, "sequences": 16}}
    compiled = {"hardware": {"compile": True}}
    train(tmp_path / "eager", tiny_config(few))
    train(tmp_path / "compiled", tiny_config(few, compiled))
    for ours, theirs in zip(metrics(tmp_path / "compiled"), metrics(tmp_path / "eager"), strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-4)
    seen = Deterministic()
    train(tmp_path / "again", tiny_config(few, compiled), stop_after=2)
    train(tmp_path / "again", tiny_config(few, compiled), seen)
    assert course(tmp_path / "again") == course(tmp_path / "compiled")
    assert seen.each == [True, True]
    assert not torch.are_deterministic_algorithms_enabled()


class Deterministic(Silent):
    """Records whether PyTorch's deterministic algorithms are on."""

    def __init__(self) -> None:
        self.each: list[bool] = []

    def step(self, progress: float, iteration: int, loss: float, tokens_per_second: float) -> None:
        self.each.append(torch.are_deterministic_algorithms_enabled())


# ------------------------------------------------------------------------------------------------------ the export


def test_the_best_model_is_exported_and_not_the_last(tmp_path: Path) -> None:
    config = tiny_config({"schedule": {"iterations": 14}})
    train(tmp_path / "run", config, stop_after=7)
    best = torch.load(tmp_path / "run" / "best.pt", weights_only=True)
    state = torch.load(tmp_path / "run" / "last.pt", weights_only=True)
    unbeatable = {"best_loss": 0.0, "best_length": TINY.max_seq_len}
    torch.save({**state, **unbeatable}, tmp_path / "run" / "last.pt")
    train(tmp_path / "run", config)
    checkpoint = load_checkpoint(export_run(tmp_path / "run", tmp_path / "model"))
    for name, tensor in best["model"].items():
        assert torch.equal(torch.from_numpy(checkpoint.tensors[name].copy()), tensor)
    assert best["iteration"] == 7


def test_demo_makes_a_model_directory_and_can_be_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = {**read_preset("demo"), "data": {"stories": 400}, "evaluation": {"batches": 1}}
    monkeypatch.setattr("llgen.trainer.demo.read_preset", lambda name: few)
    for _ in range(2):
        model = train_demo(tmp_path, 0.1, Silent())
        assert load_checkpoint(model).config == layered([few]).model.resolved()


# --------------------------------------------------------------------------------------------------------- refusals


def test_divergence_is_named(tmp_path: Path) -> None:
    wild = {"optimizer": {"name": "adamw", "learning_rate": 1e30, "clip_norm": 1e30}, "schedule": {"warmup": 0}}
    with pytest.raises(LlgenError, match="training diverged") as caught:
        train(tmp_path, tiny_config(wild))
    assert caught.value.hint == "optimizer.learning_rate below 1e+30"


def test_other_settings_than_those_it_was_begun_with_are_refused(tmp_path: Path) -> None:
    train(tmp_path, tiny_config(), stop_after=1)
    with pytest.raises(LlgenError, match=r"holds a run with batch\.sequences=4, and 8 was asked for"):
        train(tmp_path, tiny_config({"batch": {"sequences": 8}}))


def test_other_data_than_it_was_begun_with_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "stories.txt"
    config = tiny_config({"data": {"source": str(text)}})
    text.write_text("\n\n".join(STORIES), encoding="utf-8")
    train(tmp_path / "run", config, stop_after=1)
    text.write_text("\n\n".join(STORIES[::-1]), encoding="utf-8")
    with pytest.raises(LlgenError, match="was started with other tokens: the text or the tokenizer has changed since"):
        train(tmp_path / "run", config)
    text.write_text("\n\n".join(STORIES), encoding="utf-8")
    assert train(tmp_path / "run", config, stop_after=1).iteration == 2


class Impatient(Silent):
    """Sends Ctrl-C before the first iteration."""

    def stage(self, text: str) -> None:
        os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_does_not_wait_for_the_text_to_be_tokenised(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # jobs in the background of a shell ignore SIGINT
    try:
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path, tiny_config(), Impatient())
    finally:
        signal.signal(signal.SIGINT, before)
    assert not (tmp_path / "config.json").exists()
    assert train(tmp_path, tiny_config(), stop_after=1).iteration == 1


def test_a_prompt_that_fills_the_context_is_no_sample(tmp_path: Path) -> None:
    train(tmp_path, tiny_config({"evaluation": {"prompt": "word " * 40}, "schedule": {"iterations": 1}}))


def test_large_seeds_drop_too(tmp_path: Path) -> None:
    train(tmp_path, tiny_config({"seed": (1 << 63) - 1, "batch": {"dropout": 0.1}, "schedule": {"iterations": 1}}))


def test_replicas_compute_in_the_format_asked_for(tmp_path: Path) -> None:
    for name in ("float32", "bfloat16"):
        hardware = {"replicas": 2, "dtype": name}
        train(tmp_path / name, tiny_config({"hardware": hardware, "schedule": {"iterations": 1}}))
    narrow, wide = (metrics(tmp_path / name)[0]["loss"] for name in ("bfloat16", "float32"))
    assert narrow != wide
    assert narrow == pytest.approx(wide, rel=1e-2)


def test_weights_that_are_not_finite_never_reach_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny_config()
    train(tmp_path, config, stop_after=3)
    before = (tmp_path / "last.pt").read_bytes()
    monkeypatch.setattr(Trainer, "evaluate", lambda trainer: math.nan)
    with pytest.raises(LlgenError, match="the loss became nan after iteration 7: training diverged"):
        train(tmp_path, config)
    assert (tmp_path / "last.pt").read_bytes() == before


def test_what_is_no_run_cannot_be_gone_on_with(tmp_path: Path) -> None:
    config = tiny_config({"schedule": {"iterations": 2}})
    train(tmp_path, config, stop_after=1)
    last = tmp_path / "last.pt"
    last.write_bytes(last.read_bytes()[:-100])
    with pytest.raises(LlgenError, match="is not a readable checkpoint: it is damaged, or holds more than tensors"):
        train(tmp_path, config)
    torch.save({"format": 0}, last)
    with pytest.raises(LlgenError, match="is not a checkpoint of this version"):
        train(tmp_path, config)
    torch.save({"format": 2, "model": {}}, last)
    with pytest.raises(LlgenError, match=r"does not fit this run's config\.json"):
        train(tmp_path, config)
    (tmp_path / "config.json").write_text('{"model": {"dim": 0}}', encoding="utf-8")
    with pytest.raises(LlgenError, match="is not a training configuration"):
        train(tmp_path, config)
    with pytest.raises(LlgenError, match="is not a training run"):
        load_run(tmp_path / "nothing")


def test_a_run_without_an_evaluation_has_no_model_yet(tmp_path: Path) -> None:
    train(tmp_path, tiny_config(), stop_after=1)
    with pytest.raises(LlgenError, match="was not evaluated yet"):
        load_run(tmp_path)


def test_a_folder_of_other_things_is_not_made_a_run(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_bytes(b"a run may have left this")
    (tmp_path / "thesis.tex").write_text("mine", encoding="utf-8")
    with pytest.raises(LlgenError, match=r"holds 'thesis\.tex' and is not a training run"):
        train(tmp_path, tiny_config())
    assert (tmp_path / "tokenizer.model").read_bytes() == b"a run may have left this"


def test_what_a_kill_left_half_written_is_the_runs_own(tmp_path: Path) -> None:
    (tmp_path / ".tokenizer.model.new").write_bytes(b"half a tok")
    assert train(tmp_path, tiny_config({"schedule": {"iterations": 1}})).iteration == 1
    assert not (tmp_path / ".tokenizer.model.new").exists()


def test_a_run_is_no_model_directory_but_has_one(tmp_path: Path) -> None:
    train(tmp_path, tiny_config({"schedule": {"iterations": 1}}))
    with pytest.raises(LlgenError, match="is a training run") as caught:
        load_checkpoint(tmp_path)
    assert caught.value.hint == f"its model: {tmp_path / 'model'}"


def test_an_end_is_needed(tmp_path: Path) -> None:
    with pytest.raises(LlgenError, match="training needs an end"):
        train(tmp_path / "run", tiny_config().model_copy(update={"schedule": layered([]).schedule}))
    assert not (tmp_path / "run").exists()


def test_clearing_leaves_what_is_not_the_runs(tmp_path: Path) -> None:
    train(tmp_path, tiny_config({"schedule": {"iterations": 1}}))
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    clear_run(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
