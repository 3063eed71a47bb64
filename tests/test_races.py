"""Commands that write one folder at once, some of them killed: no program stands beside another one's manifest.

LLGEN_RACE_ROUNDS has it go on for longer.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import sys
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from commands import start
from models import random_checkpoint

from llgen.codegen.compile.toolchain import Artifact
from llgen.codegen.formats.hf.directory import save_checkpoint
from llgen.codegen.run.runner import run_selftest
from llgen.targets.schema import load_target

ROUNDS = int(os.environ.get("LLGEN_RACE_ROUNDS", "20"))
AT_ONCE = 4
TARGET = load_target("host")

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork server")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two models of one shape and one name, so that all files of their builds are called alike."""
    folders = [tmp_path_factory.mktemp(f"model{seed}") / "odd" for seed in (1, 2)]
    for seed, folder in enumerate(folders):
        save_checkpoint(random_checkpoint(seed=seed), folder)
    return folders


def race(processes: list[BaseProcess], chance: random.Random, kills: int) -> list[int]:
    """Let commands run, kill the first `kills` of them somewhere on the way; the exit codes of the others."""
    for process in processes[:kills]:
        time.sleep(chance.random() * 0.8)
        process.kill()
    for process in processes:
        process.join()
    assert all(process.exitcode in (-signal.SIGKILL, 0) for process in processes[:kills])
    return [process.exitcode or 0 for process in processes[kills:]]


def is_whole(folder: Path) -> bool:
    """Whether a folder holds a build and nothing else; a manifest that vouches for something must not err."""
    path = folder / "manifest.json"
    if not path.exists():
        return False  # killed before the first was complete
    manifest = json.loads(path.read_text(encoding="utf-8"))
    if "unfinished" in manifest:
        return False  # killed while one file after the other took its place
    for name, digest in manifest["files"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    program = folder / manifest["artifact"]
    assert hashlib.sha256(program.read_bytes()).hexdigest() == manifest["artifact_sha256"]
    assert run_selftest(Artifact(program, TARGET), manifest["digest_positions"]).digest_hex == manifest["digest"]
    assert manifest["proved_positions"] == manifest["digest_positions"]
    return {entry.name for entry in folder.iterdir()} == {*manifest["files"], manifest["artifact"], "manifest.json"}


def test_builds_of_different_models_into_one_folder_with_kills(models: list[Path], tmp_path: Path) -> None:
    chance, folder, log = random.Random(1), tmp_path / "out", tmp_path / "log"
    digests = set()

    def build() -> BaseProcess:
        model, scheme = chance.choice(list(zip(models, ("f32", "q8"), strict=True)))
        return start(log, "build", model, "--scheme", scheme, "-o", folder)

    for number in range(ROUNDS):
        codes = race([build() for _ in range(AT_ONCE)], chance, kills=number % AT_ONCE)
        assert set(codes) == {0}, log.read_text(encoding="utf-8")
        if not is_whole(folder):  # a kill came last: whoever comes next clears it away
            assert race([build()], chance, 0) == [0], log.read_text(encoding="utf-8")
            assert is_whole(folder)
        digests.add(json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["digest"])
    assert len(digests) == 2 or ROUNDS < 10  # in few rounds, one model may win them all


def test_runs_in_one_folder_with_kills(tmp_path: Path) -> None:
    """A fifth of the rounds: in each, four processes import PyTorch, and a fifth one goes on with the run."""
    torch = pytest.importorskip("torch")
    from runs import course

    assert torch
    log = tmp_path / "log"
    settings = {
        "model.dim": 16,
        "model.n_heads": 2,
        "model.n_kv_heads": 1,
        "model.n_layers": 1,
        "model.hidden_dim": 24,
        "model.max_seq_len": 32,
        "model.vocab_size": 1100,
        "data.stories": 60,
        "schedule.warmup": 2,
        "evaluation.interval": 3,
        "evaluation.batches": 1,
        "evaluation.prompt": "",
        "hardware.fused": "false",
    }
    words = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]

    def train(run: Path) -> BaseProcess:
        return start(log, "train", "--iterations", 12, *words, "--set", "hardware.replicas=1", "-o", run)

    assert race([train(tmp_path / "whole")], random.Random(), 0) == [0], log.read_text(encoding="utf-8")
    whole = course(tmp_path / "whole")
    model = (tmp_path / "whole" / "model" / "model.safetensors").read_bytes()
    chance = random.Random(1)
    for number in range(max(1, ROUNDS // 5)):
        run = tmp_path / f"run{number}"
        codes = race([train(run) for _ in range(AT_ONCE)], chance, kills=1 + number % (AT_ONCE - 1))
        assert set(codes) == {0}, log.read_text(encoding="utf-8")
        assert course(run) == whole
        assert (run / "model" / "model.safetensors").read_bytes() == model
        assert race([train(run)], chance, 0) == [0], log.read_text(encoding="utf-8")
        assert not [entry.name for entry in run.rglob(".*")]
