"""`llgen train` from the command line: text in, model directory out, errors in words."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from io import StringIO
from pathlib import Path

import pytest
from click.testing import Result
from commands import LLGEN, invoke
from patience import PATIENCE
from rich.console import Console
from runs import STORIES

from llgen.codegen.cli.data import prepare
from llgen.codegen.cli.evaluate import command as evaluate
from llgen.codegen.cli.output import kib
from llgen.codegen.cli.tokenizer import compare
from llgen.codegen.cli.train import command
from llgen.codegen.formats.hf.directory import load_checkpoint
from llgen.errors import ExitCode, LlgenError
from llgen.notices import gathered
from llgen.trainer.data import open_tokenized
from llgen.trainer.judgement import Kept
from llgen.trainer.progress import ConsoleReporter
from llgen.trainer.train import Trainer

SMALL_AND_DIVIDED = [
    *("--set", "model.dim=16", "--set", "model.n_heads=2", "--set", "model.n_kv_heads=1", "--set", "model.n_layers=1"),
    *("--set", "model.hidden_dim=44", "--set", "model.max_seq_len=32", "--set", "model.vocab_size=300"),
    *("--set", "schedule.warmup=2", "--set", "evaluation.interval=4", "--set", "evaluation.batches=2"),
]
"""In as many processes as llgen chooses; each imports PyTorch, so only tests of this choice ask for them."""
ALONE = ("--set", "hardware.replicas=1")
SMALL = [*SMALL_AND_DIVIDED, *ALONE]


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "stories.txt"
    path.write_text("\n\n".join(STORIES), encoding="utf-8")
    return path


def train(*arguments: object) -> Result:
    return invoke(command, *arguments)


def test_trains_on_a_file_and_says_what_next(text: Path, tmp_path: Path) -> None:
    run = tmp_path / "my run"
    result = train("--data", text, "-o", run, "--iterations", "10", *SMALL_AND_DIVIDED)
    assert result.exit_code == 0
    assert result.stdout == ""
    assert "held-out loss" in result.stderr
    assert "  Once upon a time" in result.stderr
    assert "tokens of 95 documents\n" in result.stderr  # five of 100 are held out
    assert result.stderr.endswith(f"next: llgen build '{run}/model' -o out\n")
    config = load_checkpoint(run / "model").config
    assert (config.dim, config.hidden_dim, config.head_dim, config.n_kv_heads) == (16, 44, 8, 1)
    assert (config.max_seq_len, config.vocab_size) == (32, 300)


def test_a_text_without_blank_lines_is_one_document_and_samples_can_be_left_out(tmp_path: Path) -> None:
    text = tmp_path / "lines.txt"
    text.write_text("\n".join(STORIES), encoding="utf-8")
    silent = ["--set", "evaluation.prompt="]
    result = train("--data", text, "-o", tmp_path / "run", "--iterations", "4", *SMALL, *silent)
    assert "tokens of one document\n" in result.stderr
    assert "Once upon a time" not in result.stderr


def test_under_torchrun_the_way_to_go_on_is_torchrun(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    result = train("--data", text, "-o", tmp_path, "--iterations", "4", "--stop-after", "2", *SMALL)
    assert "under torchrun" in result.stderr


@pytest.mark.parametrize(
    ("count", "words"),
    [(1000, "(1.0 KiB)"), (9 << 20, "(9216.0 KiB)"), (20 << 20, "(20.0 MiB)"), (3 << 32, "(12.0 GiB)")],
)
def test_sizes_are_told_in_units_that_suit_them(count: int, words: str) -> None:
    assert kib(count).endswith(words)


def test_the_same_command_goes_on_and_answers_in_json(text: Path, tmp_path: Path) -> None:
    arguments = ["--data", text, "-o", tmp_path / "run", "--iterations", "6", *SMALL_AND_DIVIDED, "--json"]
    first = json.loads(train(*arguments, "--stop-after", "2").stdout)
    assert (first["iterations"], first["interrupted"], first["model"]) == (2, True, None)
    answer = json.loads(train(*arguments).stdout)
    assert (answer["iterations"], answer["interrupted"]) == (6, False)
    assert answer["model"] == str(tmp_path / "run" / "model")
    assert answer["held_out_loss"] > 0
    assert json.loads(train(*arguments).stdout)["held_out_loss"] == answer["held_out_loss"]


def test_a_configuration_file_is_a_layer_like_the_others(text: Path, tmp_path: Path) -> None:
    config = tmp_path / "train.toml"
    config.write_text(
        f'preset = "stories-1m"\n[data]\nsource = "{text}"\n[model]\nn_layers = 2\ndim = 16\nhidden_dim = 40\n',
        encoding="utf-8",
    )
    few = ["--set", "model.max_seq_len=32", "--set", "model.vocab_size=300", "--set", "evaluation.batches=1", *ALONE]
    train(config, "-o", tmp_path / "run", "--iterations", "1", "--set", "model.hidden_dim=44", *few)
    made = load_checkpoint(tmp_path / "run" / "model").config
    assert (made.n_layers, made.dim, made.hidden_dim, made.n_heads) == (2, 16, 44, 8)


def test_makes_up_stories_without_data(tmp_path: Path) -> None:
    call = ("-o", tmp_path / "run", "--iterations", "2", "--set", "data.stories=60", *SMALL)
    assert "making up 60 stories" in train(*call).stderr
    assert "making up" not in train(*call).stderr
    assert (tmp_path / "run" / "model" / "model.safetensors").exists()


def test_a_dry_run_tells_sizes_and_writes_nothing(text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    told = train("--preset", "stories-15m", "--dry-run", "--target", "cortex_m4f")
    assert "15,191,712" in told.stderr
    assert "does not fit" in told.stderr
    answer = json.loads(train("--dry-run", "--target", "host", "--json").stdout)
    assert answer["parameters"] == 260_032
    assert answer["tokens_per_iteration"] == 1024
    assert answer["memory_bytes"] > 4 * 260_032 * 3
    assert answer["schemes"]["f32"]["fits"] is True
    assert answer["schemes"]["f32"]["flash_bytes"] > 4 * 260_032
    assert list(tmp_path.iterdir()) == []


def test_fine_tunes_with_adapters(text: Path, tmp_path: Path) -> None:
    train("--data", text, "-o", tmp_path / "base", "--iterations", "4", *SMALL)
    arguments = ["--data", text, "--from", tmp_path / "base" / "model", "--lora", "2", "--iterations", "2", *ALONE]
    train(*arguments, "-o", tmp_path / "tuned", "--set", "evaluation.batches=1")
    assert load_checkpoint(tmp_path / "tuned" / "model").config == load_checkpoint(tmp_path / "base" / "model").config


@pytest.mark.parametrize(
    ("arguments", "message", "code"),
    [
        (["--set", "model.dim=30"], r"model\.dim is 30, which model\.n_heads 8 does not divide", ExitCode.USAGE),
        (["--set", "model.n_kv_heads=3"], r"\[model\]: n_heads is 8, which n_kv_heads 3 does not", ExitCode.USAGE),
        (["--iterations", "5", "--minutes", "1"], "both say when training ends", ExitCode.USAGE),
        (["--seed", str(1 << 64)], "seed is 18446744073709551616", ExitCode.USAGE),
        (["--shard"], "there is only one", ExitCode.USAGE),
        (["--data", "missing.txt"], "cannot read 'missing.txt'", ExitCode.FAILED),
        (["--set", "optimizer.learning_rate=-1"], r"optimizer\.learning_rate is -1", ExitCode.USAGE),
        (["--set", "model.dmi=3"], r"there is no setting 'model\.dmi'", ExitCode.USAGE),
        (["--preset", "huge"], "there is no preset 'huge'", ExitCode.USAGE),
        (["--lora", "4", "--iterations", "1"], r"start: lora needs a model to adapt", ExitCode.USAGE),
        (["--from", "missing", "--iterations", "1"], "missing", ExitCode.FAILED),
        (["missing.toml"], r"there is no configuration 'missing\.toml'", ExitCode.FAILED),
    ],
)
def test_refuses(tmp_path: Path, arguments: list[str], message: str, code: ExitCode) -> None:
    with pytest.raises(LlgenError, match=message) as caught:
        train("-o", tmp_path / "run", *arguments)
    assert caught.value.exit_code == code
    assert not (tmp_path / "run").exists()


def test_a_preset_on_the_command_line_stands_for_that_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "my.toml"
    file.write_text('preset = "stories-1m"\n', encoding="utf-8")
    small = train(file, "--preset", "stories-260k", "--dry-run", "--json")
    assert json.loads(small.stdout)["parameters"] == 260_032


def test_fields_and_separators_are_options(tmp_path: Path) -> None:
    lines, names = tmp_path / "stories.jsonl", tmp_path / "names.txt"
    lines.write_text("".join(json.dumps({"story": story}) + "\n" for story in STORIES), encoding="utf-8")
    names.write_text("".join(story.replace("\n", " ") + "\n" for story in STORIES), encoding="utf-8")
    for run, *options in (("a", "--data", lines, "--field", "story"), ("b", "--data", names, "--separator", "line")):
        train(*options, "-o", tmp_path / run, "--iterations", "1", *SMALL)
        assert len(open_tokenized(tmp_path / run / "tokens").train.starts) == 95


def test_a_tokenizer_of_another_size_than_the_models_is_refused(text: Path, tmp_path: Path) -> None:
    train("--data", text, "-o", tmp_path / "run", "--iterations", "1", *SMALL)
    options = ["--data", text, "--tokenizer", tmp_path / "run" / "tokenizer.model", *SMALL]
    with pytest.raises(LlgenError, match=r"has 300 pieces; model\.vocab_size is 512") as caught:
        train(*options, "-o", tmp_path / "other", "--iterations", "1", "--set", "model.vocab_size=512")
    assert caught.value.hint == "--set model.vocab_size=300"
    assert not (tmp_path / "other").exists()


def test_a_tokenizer_json_alone_is_fine_tuned_prepared_and_compared_with(text: Path, tmp_path: Path) -> None:
    train("--data", text, "-o", tmp_path / "run", "--iterations", "1", *SMALL)
    base = tmp_path / "run" / "model"
    (base / "tokenizer.model").unlink()
    few = ["--from", base, "--iterations", "1", "--set", "evaluation.batches=1", *ALONE]
    train(*few, "--data", text, "-o", tmp_path / "tuned")
    tuned = load_checkpoint(tmp_path / "tuned" / "model")
    assert tuned.vocabulary == load_checkpoint(base).vocabulary
    given = base / "tokenizer.json"
    train("--data", text, "--tokenizer", given, "-o", tmp_path / "named", "--iterations", "1", *SMALL)
    assert "flash" in train("--from", base, "--dry-run").stderr
    asked = {prepare: ["-o", tmp_path / "tokens"], compare: ["--sizes", "300", "--json"]}
    for called, options in asked.items():
        words = map(str, [text, "--tokenizer", given, *options])
        assert invoke(called, *words).exit_code == 0
    train(*few, "--data", tmp_path / "tokens", "-o", tmp_path / "shared")


def test_a_model_without_a_tokenizer_asks_for_one(text: Path, tmp_path: Path) -> None:
    train("--data", text, "-o", tmp_path / "run", "--iterations", "1", *SMALL)
    base = tmp_path / "run" / "model"
    for name in ("tokenizer.model", "tokenizer.json"):
        (base / name).unlink()
    with pytest.raises(LlgenError, match="has no tokenizer") as caught:
        train("--data", text, "--from", base, "-o", tmp_path / "tuned", "--iterations", "1")
    assert caught.value.hint == "--tokenizer FILE, the tokenizer that it was trained with"


def test_refuses_other_settings_in_a_folder_that_holds_a_run(text: Path, tmp_path: Path) -> None:
    train("--data", text, "-o", tmp_path / "run", "--iterations", "1", *SMALL)
    with pytest.raises(LlgenError, match=r"holds a run with seed=1, and 2 was asked for") as caught:
        train("--data", text, "-o", tmp_path / "run", "--iterations", "1", *SMALL, "--seed", "2")
    assert caught.value.exit_code == ExitCode.USAGE


def test_says_how_to_get_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(LlgenError, match="training needs PyTorch, which is not installed") as caught:
        train("-o", tmp_path / "run")
    assert caught.value.hint == "pip install 'llgen[train]'"


def test_replicas_and_readers_of_runs_do_not_import_what_only_the_leader_of_a_run_needs() -> None:
    code = (
        "import sys, llgen.trainer.replicas, llgen.trainer.export, llgen.trainer.quantize.recipe\n"
        "sys.exit('torch.distributed.fsdp' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_help_does_not_import_torch() -> None:
    code = "import sys, llgen.codegen.cli.train; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.skipif(os.name == "nt", reason="sends signals to another process")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_a_run_that_goes_on(text: Path, tmp_path: Path, number: signal.Signals) -> None:
    run = tmp_path / "run"
    arguments = ["train", "--data", str(text), "-o", str(run), "--iterations", "1000000", *SMALL_AND_DIVIDED]
    with subprocess.Popen([*LLGEN, *arguments], stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + PATIENCE
        while not ((run / "metrics.jsonl").exists() and (run / "metrics.jsonl").stat().st_size):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(number)
        _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert errors.splitlines()[-1].startswith("  llgen train --data")
    assert not (run / "model").exists()
    reached = len((run / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    result = train("--data", text, "-o", run, "--iterations", reached + 2, *SMALL_AND_DIVIDED, "--json")
    assert json.loads(result.stdout)["iterations"] == reached + 2


def test_progress_is_plain_lines_off_a_terminal_and_a_bar_on_one() -> None:
    plain, terminal = StringIO(), StringIO()
    for file, is_terminal in ((plain, False), (terminal, True)):
        reporter = ConsoleReporter(Console(file=file, force_terminal=is_terminal, width=100))
        reporter.stage("reading [stories]")
        for iteration in range(1, 101):
            reporter.step(iteration / 100, iteration, 1.5, 12345.0)
        reporter.evaluated(100, 1.25, None, Kept(1.25, 32, 100))
        reporter.close()
        reporter.close()
    lines = plain.getvalue().splitlines()
    assert lines[0] == "reading [stories]"
    assert lines[1] == " 10%  iteration 10  loss 1.500  12,345 tokens/s"
    assert len(lines) == 12
    assert lines[-1] == "iteration 100: held-out loss 1.250 nats/token"
    assert "\x1b[" not in plain.getvalue()
    assert "\x1b[" in terminal.getvalue()


# ---------------------------------------------------------------------------------------- a text that is read amiss


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "lines.txt"
    path.write_text("".join(story.replace("\n", " ") + "\n" for story in STORIES), encoding="utf-8")
    return path


def test_a_text_of_lines_that_is_one_document_is_named_before_it_is_trained_on(lines: Path, tmp_path: Path) -> None:
    with gathered() as said:
        train("--data", lines, "-o", tmp_path / "run", "--iterations", "1", *SMALL)
    assert said == ["the text is one document of 100 lines; if each line is a separate document: --separator line"]
    with gathered() as said:
        train("--data", lines, "--separator", "line", "-o", tmp_path / "other", "--iterations", "1", *SMALL)
    assert said == []


def test_json_lines_are_not_told_to_be_read_as_text(tmp_path: Path) -> None:
    path = tmp_path / "few.jsonl"
    path.write_text(json.dumps({"text": "\n".join(STORIES).replace("\n\n", "\n")}) + "\n", encoding="utf-8")
    with gathered() as said:
        train("--data", path, "-o", tmp_path / "run", "--iterations", "1", *SMALL)
    assert said == []


@pytest.mark.parametrize("losses", [[20.0], [5.0, 20.0]], ids=["never useful", "useful before"])
def test_a_held_out_loss_far_above_chance_ends_a_run_and_keeps_what_was_useful(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, losses: list[float]
) -> None:
    left = iter(losses)
    monkeypatch.setattr("llgen.trainer.train.Trainer.evaluate", lambda trainer: next(left))
    arguments = ("--data", text, "-o", tmp_path, "--iterations", 4 * len(losses), "--set", "batch.growth=0", *SMALL)
    with pytest.raises(LlgenError, match=r"is 20\.000 nats/token; guessing among 300 tokens has 5\.704") as caught:
        train(*arguments)
    assert caught.value.exit_code == ExitCode.FAILED
    assert (tmp_path / "model").exists() == (len(losses) == 2)
    if len(losses) == 1:  # the same command again does not export what the first refused
        with pytest.raises(LlgenError, match=r"20\.000"):
            train(*arguments)


def test_a_held_out_loss_that_stays_far_above_chance_ends_a_run_at_the_second_evaluation(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluated: list[float] = []

    def evaluate(trainer: Trainer) -> float:
        evaluated.append(20.0)
        return 20.0

    step = Trainer.step
    monkeypatch.setattr(Trainer, "evaluate", evaluate)
    monkeypatch.setattr(Trainer, "step", lambda trainer: step(trainer) | {"loss": 30.0})  # also above chance
    with pytest.raises(LlgenError, match="the model is worse than guessing") as caught:
        train("--data", text, "-o", tmp_path, "--iterations", 16, "--set", "batch.growth=0", *SMALL)
    assert caught.value.exit_code == ExitCode.FAILED
    assert evaluated == [20.0, 20.0]


def test_the_loss_that_is_told_is_that_of_the_weights_that_are_kept(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = iter([4.0, 5.0, 4.5])
    monkeypatch.setattr("llgen.trainer.train.Trainer.evaluate", lambda trainer: next(left))
    result = train(
        *("--data", text, "-o", tmp_path, "--iterations", 12, "--json", "--set", "batch.growth=0", *SMALL),
    )
    said = " ".join(result.stderr.split())
    assert "iteration 8: held-out loss 5.000 nats/token, above the 4.000 of iteration 4, whose weights are kept" in said
    assert "held-out loss 4.000 nats/token after 4 iterations" in said
    assert "after 12 it is 4.500: the model begins to learn its text by heart" in said
    assert f"wrote {tmp_path}/model: the weights of iteration 4, held-out loss 4.000 nats/token" in said
    told = json.loads(result.stdout)
    assert (told["held_out_loss"], told["kept_iteration"], told["last_held_out_loss"]) == (4.0, 4, 4.5)


def test_who_follows_the_hints_of_a_tiny_text_trains_in_the_end(tmp_path: Path) -> None:
    text = tmp_path / "tiny.txt"
    text.write_text("a tiny text\nof three lines\nand no more than that\n" * 5, encoding="utf-8")
    asked: list[str] = ["--data", str(text), "-o", str(tmp_path / "run"), "--iterations", "1", *ALONE]
    for _ in range(4):
        try:
            result = train(*asked)
            break
        except LlgenError as error:
            assert error.hint is not None
            asked += error.hint.partition(",")[0].split()
    assert result.exit_code == 0
    assert [word.partition("=")[0] for word in asked[8:] if word != "--set"] == [
        "model.vocab_size",
        "model.max_seq_len",
    ]


@pytest.mark.parametrize("place", ["run", "run/model"])
def test_eval_reads_a_text_as_the_one_was_that_the_model_was_trained_on(
    lines: Path, tmp_path: Path, place: str
) -> None:
    train("--data", lines, "--separator", "line", "-o", tmp_path / "run", "--iterations", "1", *SMALL)

    def documents(*options: str) -> int:
        arguments = [str(tmp_path / place), "--data", str(lines), "--json", *options]
        return json.loads(invoke(evaluate, *arguments).stdout)["documents"]

    assert documents() == len(STORIES)
    assert documents("--separator", "") == 1
    told = tmp_path / "told.jsonl"
    told.write_text("".join(json.dumps({"text": story}) + "\n" for story in STORIES[:7]), encoding="utf-8")
    lines = told
    assert documents() == 7  # separators are for text, not for JSON lines
