"""The training loop: AdamW, warm-up and cosine, accumulation, evaluation, checkpoints that go on to the same losses.

AdamW is decoupled weight decay (Loshchilov and Hutter, 2019, arXiv:1711.05101); the cosine is that of SGDR (Loshchilov
and Hutter, 2017, arXiv:1608.03983), without restarts.

A run directory holds `config.json`, `tokenizer.model`, `tokens.npz`, `checkpoint.pt` and `metrics.jsonl`, one line an
iteration: all that resuming needs.
"""

from __future__ import annotations

import json
import math
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn

from llgen.codegen.errors import LlgenError
from llgen.codegen.vocabulary import Vocabulary

from .config import TrainConfig
from .data import Batches, Dataset, read_dataset, write_dataset
from .model import Llama
from .progress import Reporter, Silent

_CHECKPOINT_FORMAT = 1
_PARALLEL_FROM_DIM = 128
_RUN_FILES = ("config.json", "tokenizer.model", "tokens.npz", "checkpoint.pt", "metrics.jsonl")


@dataclass(frozen=True)
class TrainResult:
    """How a run ended; losses are in nats a token."""

    iteration: int
    """Iterations done, those of earlier runs included."""
    held_out_loss: float
    seconds: float
    """Time spent in iterations and evaluations, that of earlier runs included."""
    tokens_per_second: float
    interrupted: bool
    """Ctrl-C ended it early; the checkpoint stands where it stopped."""


# ------------------------------------------------------------------------------------------------------------ runs


def start_run(
    directory: Path, config: TrainConfig, dataset: Dataset, vocabulary: Vocabulary, reporter: Reporter | None = None
) -> TrainResult:
    """Train a new model in a new run directory.

    Raises LlgenError when the directory holds a run already, or when the loss diverges.
    """
    refuse_existing_run(directory)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "tokenizer.model").write_bytes(vocabulary.proto)
    write_dataset(dataset, directory / "tokens.npz")
    (directory / "metrics.jsonl").write_bytes(b"")
    trainer = Trainer(directory, config, dataset)
    trainer.save()
    config.save(directory / "config.json")  # last: it makes the directory a run
    return trainer.run(reporter or Silent())


def refuse_existing_run(directory: Path) -> None:
    """Raise LlgenError when a directory holds a run already, or is a file."""
    if directory.exists() and not directory.is_dir():
        raise LlgenError(f"'{directory}' exists and is a file", "choose another -o")
    if (directory / "config.json").exists():
        raise LlgenError(f"'{directory}' holds a training run already", "--resume to go on with it, or another -o")


def clear_run(directory: Path) -> None:
    """Delete the files of a run, and nothing else that its directory may hold."""
    for name in _RUN_FILES:
        (directory / name).unlink(missing_ok=True)


def resume_run(
    directory: Path,
    reporter: Reporter | None = None,
    *,
    iterations: int | None = None,
    max_seconds: float | None = None,
) -> TrainResult:
    """Go on where a run's checkpoint stands; with `iterations`, to the same losses as without the break.

    A new end, when one is given, replaces the run's own, and the cosine is stretched to it.
    Raises LlgenError when there is no run, or its checkpoint is unreadable.
    """
    config = TrainConfig.load(directory / "config.json")
    trainer = Trainer(directory, config, read_dataset(directory / "tokens.npz"))
    trainer.load()
    if iterations is not None or max_seconds is not None:
        trainer.config = replace(config, iterations=iterations, max_seconds=max_seconds)
        trainer.config.save(directory / "config.json")
    return trainer.run(reporter or Silent())


class Trainer:
    """A model, its optimiser and its place in the data; all that a checkpoint holds."""

    def __init__(self, directory: Path, config: TrainConfig, dataset: Dataset) -> None:
        self.directory = directory
        self.config = config
        with torch.random.fork_rng():  # the caller's random state is not ours to change
            torch.manual_seed(config.seed)
            self.model = Llama(config.model)
        self.optimizer = make_optimizer(self.model, config)
        self.batches = Batches(dataset.train, config.seed)
        held_out = Batches(dataset.held_out, config.seed)
        full = (config.batch_size, config.model.max_seq_len)
        self.held_out = [held_out.draw(*full) for _ in range(config.eval_batches)]  # the same at every evaluation
        self.iteration = 0
        self.seconds = 0.0

    # ------------------------------------------------------------------------------------------------- the loop

    @property
    def progress(self) -> float:
        """From 0 to 1: iterations done of those asked for, or time spent of that allowed."""
        if self.config.iterations is not None:
            return self.iteration / self.config.iterations
        assert self.config.max_seconds is not None
        return self.seconds / self.config.max_seconds

    def run(self, reporter: Reporter) -> TrainResult:
        """Iterate to the end, or to Ctrl-C; a checkpoint stands there in either case."""
        started, already, tokens = time.monotonic(), self.seconds, 0
        evaluated_at, held_out_loss = -1, math.nan
        metrics_path = self.directory / "metrics.jsonl"
        try:
            with (
                suitable_threads(self.config.model.dim),
                stop_on_interrupt() as stop,
                metrics_path.open("a", encoding="utf-8") as metrics,
            ):
                while self.progress < 1.0 and not stop.is_set():
                    before = time.monotonic()
                    line = self.step()
                    now = time.monotonic()
                    self.seconds = already + now - started
                    tokens += line["tokens"]
                    line["tokens_per_second"] = round(line["tokens"] / (now - before), 1)
                    if self.iteration % self.config.eval_interval == 0:
                        evaluated_at, held_out_loss = self.iteration, self.evaluate()
                        line["held_out_loss"] = held_out_loss
                        reporter.evaluated(self.iteration, held_out_loss)
                    metrics.write(json.dumps(line) + "\n")
                    if evaluated_at == self.iteration:
                        metrics.flush()
                        self.save()
                    reporter.step(min(1.0, self.progress), self.iteration, line["loss"], line["tokens_per_second"])
                interrupted = stop.is_set()
            self.save()
        finally:
            reporter.close()
        if evaluated_at != self.iteration:
            held_out_loss = self.evaluate()
        return TrainResult(
            self.iteration, held_out_loss, self.seconds, tokens / max(self.seconds - already, 1e-9), interrupted
        )

    def step(self) -> dict[str, Any]:
        """One update of the weights; returns its line for the metrics, without the speed."""
        rate = learning_rate(self.config, self.iteration, self.progress)
        length = self.config.sequence_length(self.progress)
        batch_size = self.config.batch_size * (self.config.model.max_seq_len // length)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        total = 0.0
        for _ in range(self.config.accumulation):
            _, loss = self.model(*self.batches.draw(batch_size, length))
            (loss / self.config.accumulation).backward()
            total += loss.item() / self.config.accumulation
        if not math.isfinite(total):
            raise LlgenError(
                f"the loss became {total} at iteration {self.iteration + 1}: training diverged",
                f"an --lr below {self.config.learning_rate:g}",
            )
        nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
        self.optimizer.step()
        self.iteration += 1
        tokens = batch_size * length * self.config.accumulation
        return {"iter": self.iteration, "loss": total, "lr": rate, "tokens": tokens}

    @torch.inference_mode()
    def evaluate(self) -> float:
        """Mean loss over the held-out batches."""
        losses: list[Tensor] = [self.model(inputs, targets)[1] for inputs, targets in self.held_out]
        return float(torch.stack(losses).mean())

    # ---------------------------------------------------------------------------------------------- checkpoints

    def save(self) -> None:
        """Write `checkpoint.pt`; it is the old one or the new one, never half of either."""
        state = {
            "format": _CHECKPOINT_FORMAT,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "batches": self.batches.state,
            "iteration": self.iteration,
            "seconds": self.seconds,
        }
        temporary = self.directory / "checkpoint.pt.new"
        with temporary.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.directory / "checkpoint.pt")

    def load(self) -> None:
        """Go back to the checkpoint, and forget the metrics that came after it."""
        path = self.directory / "checkpoint.pt"
        state = read_checkpoint_file(path)
        try:
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.batches.state = state["batches"]
            self.iteration, self.seconds = int(state["iteration"]), float(state["seconds"])
        except (KeyError, ValueError, RuntimeError) as error:
            raise LlgenError(f"'{path}' does not fit this run's config.json: {error}", "start a new run") from error
        metrics = self.directory / "metrics.jsonl"
        lines = metrics.read_text(encoding="utf-8").splitlines(keepends=True) if metrics.exists() else []
        metrics.write_text("".join(lines[: self.iteration]), encoding="utf-8")


def read_checkpoint_file(path: Path) -> dict[str, Any]:
    """The contents of a `checkpoint.pt`, read without running code that it may hold."""
    try:
        state = torch.load(path, weights_only=True)
    except FileNotFoundError as error:
        raise LlgenError(f"'{path.parent}' has no {path.name}", "is this a training run?") from error
    except Exception as error:  # torch.load raises whatever the bytes lead it to
        raise LlgenError(f"'{path}' is not a readable checkpoint: {error}", "start a new run") from error
    if not isinstance(state, dict) or state.get("format") != _CHECKPOINT_FORMAT:
        raise LlgenError(f"'{path}' is not a checkpoint of this version of llgen", "start a new run")
    return state


# ----------------------------------------------------------------------------------------------------- the optimiser


def make_optimizer(model: Llama, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW in which matrices decay and gains do not."""
    matrices = [parameter for parameter in model.parameters() if parameter.dim() >= 2]
    gains = [parameter for parameter in model.parameters() if parameter.dim() < 2]
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": gains, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(config.beta1, config.beta2), fused=True)


def learning_rate(config: TrainConfig, iteration: int, progress: float) -> float:
    """A linear rise over `warmup` iterations, under a cosine from the peak to the final rate."""
    floor = config.final_learning_rate
    cosine = floor + (1.0 - floor) * 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))
    rise = min(1.0, (iteration + 1) / (config.warmup + 1))
    return config.learning_rate * rise * cosine


@contextmanager
def suitable_threads(dim: int) -> Iterator[None]:
    """One thread for a narrow model, whose operators are over before a second one has begun; else as many as there are.

    The number decides how sums are divided, so it must follow from the model alone: a resumed run repeats the losses.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1 if dim < _PARALLEL_FROM_DIM else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def stop_on_interrupt() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C sets, so that an iteration is never cut in half; the second one interrupts."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop  # only the main thread may handle signals
        return
    previous = signal.getsignal(signal.SIGINT)

    def handle(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    signal.signal(signal.SIGINT, handle)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, previous)
