"""Several processes train the same model as one process: DDP and FSDP, with two processes over gloo."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from patience import PATIENCE
from runs import TINY, metrics, tiny_config
from torch.nn.parallel import DistributedDataParallel

from llgen.errors import LlgenError
from llgen.trainer.distributed import Distributed
from llgen.trainer.export import load_run
from llgen.trainer.model import Llama
from llgen.trainer.objective import Objective
from llgen.trainer.operators import Operators
from llgen.trainer.processes import Processes
from llgen.trainer.run import _require_shares, train

SCRIPT = f"""
import faulthandler
import gc
import sys
from pathlib import Path
import torch.distributed as dist
from llgen.trainer.config import TrainConfig
from llgen.trainer.run import train
from llgen.trainer.train import Trainer

destroy = dist.destroy_process_group

def destroy_last():
    assert not [each for each in gc.get_objects() if isinstance(each, Trainer)], "a trainer outlives its group"
    destroy()

dist.destroy_process_group = destroy_last
faulthandler.dump_traceback_later({PATIENCE - 60}, exit=True)  # shows where a process hangs
train(Path(sys.argv[1]), TrainConfig.load(Path(sys.argv[2])), stop_after=int(sys.argv[3]))
"""


def start_two(run: Path, config: Path, stop_after: int) -> subprocess.CompletedProcess[str]:
    script = config.with_suffix(".py")
    script.write_text(SCRIPT, encoding="utf-8")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*torchrun, str(script), str(run), str(config), str(stop_after)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, env=environment, check=False)


def train_in_two(run: Path, config: Path, stop_after: int) -> None:
    done = start_two(run, config, stop_after)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("kind", ["whole", "divided"])
def test_two_processes_agree_with_one(tmp_path: Path, kind: str) -> None:
    settings = {
        "optimizer": {"name": "adamw", "ema": 0.9},
        "batch": {"accumulation": 2},
        "schedule": {"iterations": 9, "warmup": 4},
    }
    one = tiny_config(settings)
    two = tiny_config(settings, {"hardware": {"shard": kind == "divided"}})
    train(tmp_path / "one", one)
    two.save(tmp_path / "two.json")
    train_in_two(tmp_path / "two", tmp_path / "two.json", 5)
    train_in_two(tmp_path / "two", tmp_path / "two.json", 100)  # the run is continued
    ours, theirs = metrics(tmp_path / "two"), metrics(tmp_path / "one")
    assert [line["iter"] for line in ours] == list(range(1, 10))
    for our, their in zip(ours, theirs, strict=True):
        assert our["loss"] == pytest.approx(their["loss"], rel=2e-4), our["iter"]
        assert our.get("held_out_loss", 0.0) == pytest.approx(their.get("held_out_loss", 0.0), rel=2e-4)
    expected = load_run(tmp_path / "one").tensors
    for name, tensor in load_run(tmp_path / "two").tensors.items():
        assert tensor == pytest.approx(expected[name], abs=5e-3)
    assert json.loads((tmp_path / "two" / "config.json").read_text())["hardware"]["shard"] is (kind == "divided")


def test_tables_that_never_change_do_not_travel_with_each_batch() -> None:
    """RoPE's tables are buffers; by default, PyTorch sends buffers to every process before each forward pass."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        gradients = Distributed(Llama(TINY), Objective(Operators()), Processes(), torch.float32)
        assert isinstance(gradients.model, DistributedDataParallel)
        assert list(gradients.model.module.buffers())
        assert not gradients.model.will_sync_module_buffers()
    finally:
        dist.destroy_process_group()


def test_a_batch_that_does_not_divide_is_refused() -> None:
    with pytest.raises(LlgenError, match=r"batch\.sequences is 4, which 3 processes do not divide") as caught:
        _require_shares(tiny_config(), Processes(0, 3))
    assert caught.value.hint == "batch.sequences=6"


def test_a_model_is_not_divided_among_one_process(tmp_path: Path) -> None:
    alone = tiny_config({"hardware": {"shard": True}, "optimizer": {"name": "adamw"}})
    with pytest.raises(LlgenError, match="there is only one") as caught:
        train(tmp_path / "run", alone)
    assert caught.value.hint == "start the command by torchrun, or leave --shard out"


def test_what_the_leader_cannot_prepare_ends_all_processes(tmp_path: Path) -> None:
    tiny_config({"data": {"source": str(tmp_path / "missing.txt")}}).save(tmp_path / "two.json")
    done = start_two(tmp_path / "two", tmp_path / "two.json", 1)
    assert done.returncode != 0
    assert "missing.txt': No such file" in done.stderr
    assert "the first process failed to prepare the data for all processes" in done.stderr
    assert not (tmp_path / "two").exists()
