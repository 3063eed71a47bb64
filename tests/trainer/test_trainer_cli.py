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
from click.testing import CliRunner, Result
from rich.console import Console

from llgen.codegen.checkpoint import load_checkpoint
from llgen.codegen.cli.train import command
from llgen.codegen.errors import ExitCode, LlgenError
from llgen.trainer.data import made_up_documents
from llgen.trainer.progress import ConsoleReporter

SMALL_SHAPE = "--dim 16 --heads 2 --kv-heads 1 --layers 1 --context 32 --vocab-size 300"
SMALL = f"{SMALL_SHAPE} --batch 2 --warmup 2 --eval-interval 4".split(" ")


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "stories.txt"
    path.write_text("\n\n".join(made_up_documents(seed=5, count=60)), encoding="utf-8")
    return path


def train(*arguments: str | Path) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments], catch_exceptions=False)


def test_trains_on_a_file_and_says_what_next(text: Path, tmp_path: Path) -> None:
    run = tmp_path / "my run"
    result = train("--data", text, "-o", run, "--iterations", "10", *SMALL)
    assert result.exit_code == 0
    assert result.stdout == ""
    assert "held-out loss" in result.stderr
    assert result.stderr.endswith(f"next: llgen build '{run}/model' -o out\n")
    config = load_checkpoint(run / "model").config
    assert (config.dim, config.hidden_dim, config.head_dim, config.n_kv_heads) == (16, 44, 8, 1)
    assert (config.max_seq_len, config.vocab_size) == (32, 300)


def test_resumes_to_a_new_end_and_answers_in_json(text: Path, tmp_path: Path) -> None:
    train("--data", text, "-o", tmp_path / "run", "--iterations", "4", *SMALL)
    result = train("-o", tmp_path / "run", "--resume", "--iterations", "6", "--json")
    answer = json.loads(result.stdout)
    assert (answer["iterations"], answer["interrupted"]) == (6, False)
    assert answer["model"] == str(tmp_path / "run" / "model")
    assert answer["held_out_loss"] > 0


def test_makes_up_stories_without_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llgen.codegen.cli.train._STORIES", 60)
    result = train("-o", tmp_path / "run", "--iterations", "2", *SMALL)
    assert "making up 60 stories" in result.stderr
    assert (tmp_path / "run" / "model" / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("arguments", "message", "code"),
    [
        (["--iterations", "1", "--minutes", "1"], "--iterations and --minutes both say", ExitCode.USAGE),
        (["--dim", "30"], "--dim is 30, which --heads 8 does not divide", ExitCode.USAGE),
        (["--kv-heads", "3"], "n_heads is 8, which n_kv_heads 3 does not divide", ExitCode.FAILED),
        (["--data", "missing.txt"], "cannot read 'missing.txt'", ExitCode.FAILED),
        (["--lr", "-1"], "learning_rate is -1.0; it must be above 0", ExitCode.FAILED),
        (["--resume", "--dim", "32"], "--dim was settled when the run began", ExitCode.USAGE),
        (["--resume"], "is not a training run", ExitCode.FAILED),
    ],
)
def test_refuses(tmp_path: Path, arguments: list[str], message: str, code: ExitCode) -> None:
    with pytest.raises(LlgenError, match=message) as caught:
        train("-o", tmp_path / "run", *arguments)
    assert caught.value.exit_code == code
    assert not (tmp_path / "run").exists()


def test_refuses_a_folder_that_holds_a_run_before_any_work(text: Path, tmp_path: Path) -> None:
    train("--data", text, "-o", tmp_path / "run", "--iterations", "1", *SMALL)
    with pytest.raises(LlgenError, match="holds a training run already"):
        train("--data", "missing.txt", "-o", tmp_path / "run")


def test_says_how_to_get_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(LlgenError, match="training needs PyTorch, which is not installed") as caught:
        train("-o", tmp_path / "run")
    assert caught.value.hint == "pip install 'llgen[train]'"


def test_help_does_not_import_torch() -> None:
    code = "import sys, llgen.codegen.cli.train; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.skipif(os.name == "nt", reason="sends SIGINT to another process")
def test_ctrl_c_leaves_a_run_that_goes_on(text: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    llgen = [sys.executable, "-c", "from llgen.codegen.cli import main; main()"]
    arguments = ["train", "--data", str(text), "-o", str(run), "--iterations", "1000000", *SMALL]
    with subprocess.Popen([*llgen, *arguments], stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 30
        while not ((run / "metrics.jsonl").exists() and (run / "metrics.jsonl").stat().st_size):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert errors.splitlines()[-1] == f"go on with: llgen train -o {run} --resume"
    reached = len((run / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    result = train("-o", run, "--resume", "--iterations", str(reached + 2), "--json")
    assert json.loads(result.stdout)["iterations"] == reached + 2


def test_progress_is_plain_lines_off_a_terminal_and_a_bar_on_one() -> None:
    plain, terminal = StringIO(), StringIO()
    for file, is_terminal in ((plain, False), (terminal, True)):
        reporter = ConsoleReporter(Console(file=file, force_terminal=is_terminal, width=100))
        reporter.stage("reading [stories]")
        for iteration in range(1, 101):
            reporter.step(iteration / 100, iteration, 1.5, 12345.0)
        reporter.evaluated(100, 1.25)
        reporter.close()
        reporter.close()
    lines = plain.getvalue().splitlines()
    assert lines[0] == "reading [stories]"
    assert lines[1] == " 10%  iteration 10  loss 1.500  12,345 tokens/s"
    assert len(lines) == 12
    assert lines[-1] == "iteration 100: held-out loss 1.250 nats/token"
    assert "\x1b[" not in plain.getvalue()
    assert "\x1b[" in terminal.getvalue()
