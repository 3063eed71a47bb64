"""Training, resuming, exporting, sampling: on a model that is small enough to train in a test."""

from __future__ import annotations

import json
import math
import os
import signal
from pathlib import Path

import pytest
import torch

from llgen.codegen.checkpoint import load_checkpoint
from llgen.codegen.config import ModelConfig
from llgen.codegen.errors import LlgenError
from llgen.trainer.config import TrainConfig
from llgen.trainer.demo import DEMO_MODEL, train_demo
from llgen.trainer.export import export_run
from llgen.trainer.model import Llama
from llgen.trainer.prepare import prepare
from llgen.trainer.progress import Silent
from llgen.trainer.sample import sample_text, sample_tokens
from llgen.trainer.train import TrainResult, learning_rate, make_optimizer, resume_run, start_run

TINY = ModelConfig(
    dim=16, hidden_dim=24, n_layers=2, n_heads=2, n_kv_heads=1, head_dim=8, vocab_size=320, max_seq_len=32
)
VOCABULARY, DATASET = prepare(None, TINY.vocab_size, TINY.max_seq_len, Silent(), stories=100, seed=1)


def config(iterations: int | None = 20, max_seconds: float | None = None, **changes: object) -> TrainConfig:
    settings: dict[str, object] = {"batch_size": 4, "warmup": 4, "eval_interval": 7, "eval_batches": 2, **changes}
    return TrainConfig(TINY, iterations=iterations, max_seconds=max_seconds, **settings)  # type: ignore[arg-type]


def train(directory: Path, settings: TrainConfig, reporter: Silent | None = None) -> TrainResult:
    return start_run(directory, settings, DATASET, VOCABULARY, reporter)


def metrics(directory: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


class StopAt(Silent):
    """Presses Ctrl-C in an iteration."""

    def __init__(self, iteration: int) -> None:
        self.iteration = iteration

    def step(self, progress: float, iteration: int, loss: float, tokens_per_second: float) -> None:
        if iteration == self.iteration:
            os.kill(os.getpid(), signal.SIGINT)


# --------------------------------------------------------------------------------------------------------- the loop


def test_learns(tmp_path: Path) -> None:
    result = train(tmp_path, config(iterations=60, learning_rate=2e-2))
    lines = metrics(tmp_path)
    assert lines[0]["loss"] == pytest.approx(math.log(TINY.vocab_size), abs=0.1)
    assert result.held_out_loss < lines[0]["loss"] - 1.0
    assert [line["iter"] for line in lines] == list(range(1, 61))
    assert all(line["tokens_per_second"] > 0 for line in lines)
    assert [line["iter"] for line in lines if "held_out_loss" in line] == [7, 14, 21, 28, 35, 42, 49, 56]
    assert result == TrainResult(60, result.held_out_loss, result.seconds, result.tokens_per_second, False)


@pytest.mark.parametrize("accumulation", [1, 2])
def test_resuming_after_an_interruption_gives_the_same_losses(tmp_path: Path, accumulation: int) -> None:
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    whole = train(straight, config(accumulation=accumulation))
    first = train(broken, config(accumulation=accumulation), StopAt(10))
    assert (first.interrupted, first.iteration) == (True, 10)
    second = resume_run(broken)
    assert (second.interrupted, second.iteration) == (False, 20)
    keys = ("iter", "loss", "lr")
    assert [[line[key] for key in keys] for line in metrics(broken)] == [
        [line[key] for key in keys] for line in metrics(straight)
    ]
    assert second.held_out_loss == whole.held_out_loss


def test_resuming_from_an_older_checkpoint_drops_the_lines_after_it(tmp_path: Path) -> None:
    train(tmp_path, config())
    expected = [line["loss"] for line in metrics(tmp_path)]
    other = tmp_path / "other"
    train(other, config(), StopAt(14))
    with (other / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"iter": 15, "loss": 99.0}\n{"iter": 16, "lo')  # killed while writing
    resume_run(other)
    assert [line["loss"] for line in metrics(other)] == expected


def test_resuming_with_a_new_end_goes_further(tmp_path: Path) -> None:
    train(tmp_path, config())
    assert resume_run(tmp_path, iterations=25).iteration == 25
    assert TrainConfig.load(tmp_path / "config.json").iterations == 25


def test_a_time_budget_is_kept_and_the_rate_comes_down(tmp_path: Path) -> None:
    result = train(tmp_path, config(iterations=None, max_seconds=1.0, eval_interval=10**6))
    rates = [line["lr"] for line in metrics(tmp_path)]
    assert 1.0 <= result.seconds < 2.0
    assert max(rates) > 0.9 * 8e-3
    assert rates[-1] < 0.2 * max(rates)


def test_accumulation_equals_a_larger_batch() -> None:
    torch.manual_seed(0)
    model = Llama(TINY)
    inputs = torch.randint(TINY.vocab_size, (4, 9))
    model(inputs[:, :-1], inputs[:, 1:])[1].backward()
    whole = {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}
    model.zero_grad()
    for half in inputs.split(2):
        (model(half[:, :-1], half[:, 1:])[1] / 2).backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, whole[name], rtol=1e-4, atol=1e-6)


def test_learning_rate_rises_and_falls() -> None:
    settings = config(iterations=100, learning_rate=1.0, warmup=9, final_learning_rate=0.1)
    rates = [learning_rate(settings, iteration, iteration / 100) for iteration in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9]
    assert rates[9] > 0.97
    assert rates[9:] == sorted(rates[9:], reverse=True)
    assert rates[100] == pytest.approx(0.1)


def test_sequences_grow_to_the_context() -> None:
    settings = config(growth=0.8)
    lengths = [settings.sequence_length(tenth / 10) for tenth in range(11)]
    assert lengths == [8] * 4 + [16] * 4 + [32] * 3
    assert config(growth=0.0).sequence_length(0.0) == 32


def test_gains_do_not_decay() -> None:
    groups = make_optimizer(Llama(TINY), config()).param_groups
    assert [(group["weight_decay"], {parameter.dim() for parameter in group["params"]}) for group in groups] == [
        (0.1, {2}),
        (0.0, {1}),
    ]


def test_training_leaves_the_callers_random_state_alone(tmp_path: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    train(tmp_path, config(iterations=1))
    assert torch.equal(torch.rand(1), expected)


# --------------------------------------------------------------------------------------------------------- refusals


def test_divergence_is_named(tmp_path: Path) -> None:
    with pytest.raises(LlgenError, match="training diverged") as caught:
        train(tmp_path, config(iterations=200, learning_rate=1e30, clip_norm=1e30, warmup=0))
    assert caught.value.hint == "an --lr below 1e+30"


def test_a_run_is_not_overwritten(tmp_path: Path) -> None:
    train(tmp_path, config(iterations=1))
    with pytest.raises(LlgenError, match="holds a training run already"):
        train(tmp_path, config(iterations=1))


def test_what_is_no_run_cannot_be_resumed(tmp_path: Path) -> None:
    with pytest.raises(LlgenError, match=r"is not a training run: it has no config\.json"):
        resume_run(tmp_path)
    train(tmp_path, config(iterations=1))
    checkpoint = tmp_path / "checkpoint.pt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:-100])
    with pytest.raises(LlgenError, match="is not a readable checkpoint"):
        resume_run(tmp_path)
    torch.save({"format": 0}, checkpoint)
    with pytest.raises(LlgenError, match="is not a checkpoint of this version"):
        resume_run(tmp_path)
    checkpoint.unlink()
    with pytest.raises(LlgenError, match=r"has no checkpoint\.pt"):
        resume_run(tmp_path)
    (tmp_path / "config.json").write_text('{"model": {}}', encoding="utf-8")
    with pytest.raises(LlgenError, match="is not a training configuration"):
        resume_run(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"iterations": None}, "training needs one end"),
        ({"max_seconds": 1.0}, "training needs one end"),
        ({"iterations": 0}, "iterations is 0; it must be at least 1"),
        ({"batch_size": 0}, "batch_size is 0; it must be at least 1"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0; it must be above 0"),
        ({"learning_rate": math.nan}, "learning_rate is nan; it must be above 0"),
        ({"beta1": 1.5}, "beta1 is 1.5; it must lie between 0 and 1"),
    ],
)
def test_config_refuses(changes: dict[str, float], message: str) -> None:
    with pytest.raises(LlgenError, match=message):
        config(**changes)  # type: ignore[arg-type]


def test_config_round_trip(tmp_path: Path) -> None:
    config().save(tmp_path / "config.json")
    assert TrainConfig.load(tmp_path / "config.json") == config()


# ------------------------------------------------------------------------------------------------ export and samples


def test_export_is_a_model_directory_with_the_same_logits(tmp_path: Path) -> None:
    train(tmp_path / "run", config())
    checkpoint = load_checkpoint(export_run(tmp_path / "run", tmp_path / "model"))
    assert checkpoint.config == TINY
    assert checkpoint.vocabulary == VOCABULARY
    trained = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)["model"]
    for name, tensor in Llama.from_checkpoint(checkpoint).state_dict().items():
        assert torch.equal(tensor, trained[name])


def test_greedy_samples_equal_the_argmax_of_the_whole() -> None:
    torch.manual_seed(3)
    model = Llama(TINY)
    prompt = [1, 270, 280]
    out = sample_tokens(model, prompt, 10, temperature=0.0)
    tokens = [*prompt, *out]
    expected = model(torch.tensor([tokens]))[0][0].argmax(-1)[len(prompt) - 1 :]
    assert out == expected[: len(out)].tolist()


def test_samples_are_seeded_and_end_with_the_context() -> None:
    torch.manual_seed(3)
    model = Llama(TINY)
    out = [sample_tokens(model, [1], 1000, seed=seed) for seed in (1, 1, 2)]
    assert out[0] == out[1] != out[2]
    assert max(map(len, out)) <= TINY.max_seq_len
    assert sample_text(model, VOCABULARY, "Tom", 5).startswith("Tom")


def test_a_small_top_p_is_greedy() -> None:
    torch.manual_seed(3)
    model = Llama(TINY)
    assert sample_tokens(model, [1], 10, top_p=1e-6, seed=4) == sample_tokens(model, [1], 10, temperature=0.0)


def test_samples_refuse() -> None:
    model = Llama(TINY)
    with pytest.raises(LlgenError, match="the prompt holds no token"):
        sample_tokens(model, [], 1)
    with pytest.raises(LlgenError, match="temperature is -1"):
        sample_tokens(model, [1], 1, temperature=-1.0)
    with pytest.raises(LlgenError, match="the prompt has 33 tokens; the model was made for 32"):
        sample_tokens(model, [1] * 33, 1)


def test_demo_makes_a_model_directory_and_can_be_repeated(tmp_path: Path) -> None:
    for _ in range(2):
        model = train_demo(tmp_path, 0.1, Silent())
        assert load_checkpoint(model).config == DEMO_MODEL
