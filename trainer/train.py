"""The training loop: draw, gradients, step; evaluation, and checkpoints that go on to the same losses."""

from __future__ import annotations

import math
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import torch
from torch import nn

from llgen.codegen.errors import LlgenError
from llgen.codegen.vocabulary import Vocabulary

from .average import WeightAverage
from .checkpoint import (
    optimizer_state,
    read_checkpoint,
    set_optimizer_state,
    set_weights,
    weights,
    write_checkpoint,
)
from .config import TrainConfig
from .data import Batches, TokenizedData
from .device import arithmetic, choose_dtype, cores, is_narrow, operator_threads, peak_memory
from .gradients import Alone, Distributed, Gradients, shard_weights
from .metrics import MetricsLog
from .optimizer import make_optimizers
from .processes import Processes
from .progress import Reporter
from .replicas import Replicas
from .sample import sample_text
from .schedule import learning_rate_factor, sequence_length
from .start import first_model, objective, operators

LAST, BEST = "last.pt", "best.pt"


@dataclass(frozen=True)
class TrainResult:
    """How a call of training ended; losses are in nats a token."""

    iteration: int
    """Iterations done, those of earlier calls included."""
    held_out_loss: float
    """Of this call's last evaluation; NaN when it ended before one."""
    best_loss: float
    """The lowest held-out loss at the longest sequences evaluated; infinite before the first."""
    seconds: float
    """Time spent in iterations and evaluations, that of earlier calls included."""
    tokens_per_second: float
    interrupted: bool
    """It ended before the run was over; the checkpoint stands where it stopped."""


class Trainer:
    """A model, its optimisers and its place in the data; all that a checkpoint holds."""

    def __init__(
        self, directory: Path, config: TrainConfig, data: TokenizedData, vocabulary: Vocabulary, processes: Processes
    ) -> None:
        self.directory, self.config, self.vocabulary, self.processes = directory, config, vocabulary, processes
        self.data_key = data.recipe.key
        self.shape = config.model.resolved()
        self.model = first_model(config, processes.device)
        self.operators = operators(config)
        self.dtype = choose_dtype(config.hardware, processes.device)
        self.gradients = self._ways_to_gradients()
        self.optimizers = make_optimizers(self.model, config)
        self.average = WeightAverage(self.model, config.optimizer.ema)
        among = {"rank": processes.rank, "world": processes.world}
        self.text = data.train
        self.batches = Batches(self.text, config.seed, aligned=config.batch.aligned, **among)
        held_out = Batches(data.held_out, config.seed, aligned=config.batch.aligned, **among)
        full = (config.batch.sequences, self.shape.max_seq_len)
        self.held_out = [held_out.draw(*full) for _ in range(config.evaluation.batches)]  # the same at every evaluation
        self.iteration = 0
        self.seconds = 0.0
        self.best_loss, self.best_length = math.inf, 0

    def _ways_to_gradients(self) -> Gradients:
        hardware, device = self.config.hardware, self.processes.device
        loss = objective(self.config, self.vocabulary, device)
        if hardware.compile:
            self.model.compile()
        if hardware.shard:
            shard_weights(self.model)
        if self.processes.world > 1:
            return Distributed(self.model, loss, self.processes, self.dtype)
        if (hardware.replicas or 1) > 1 and device.type == "cpu":  # a run may go on on another machine
            return Replicas(
                self.model, partial(first_model, self.config, device), loss, hardware.replicas or 1, self.dtype
            )
        return Alone(self.model, loss, device, self.dtype)

    def close(self) -> None:
        """End what works for it."""
        self.gradients.close()

    # ------------------------------------------------------------------------------------------------- the loop

    @property
    def progress(self) -> float:
        """From 0 to 1: iterations done of those asked for, or time spent of that allowed."""
        if self.config.schedule.iterations is not None:
            return self.iteration / self.config.schedule.iterations
        assert self.config.max_seconds is not None
        return self.seconds / self.config.max_seconds

    def run(self, reporter: Reporter, stop: Event, stop_after: int | None = None) -> TrainResult:
        """Iterate to the end, until `stop` is set, or for `stop_after` iterations; a checkpoint then stands there."""
        began, already, tokens, held_out_loss = self.iteration, self.seconds, 0, math.nan
        with self.threads(), MetricsLog(self._logs(), self.iteration) as metrics:
            started = time.monotonic()
            while self.progress < 1.0:
                before = time.monotonic()
                line = self.step()
                now = time.monotonic()
                self.seconds = self.processes.agreed(already + now - started)
                tokens += line["tokens"]
                line["tokens_per_second"] = round(line["tokens"] / (now - before), 1)
                line["memory_bytes"] = peak_memory(self.processes.device)
                reporter.step(min(1.0, self.progress), self.iteration, line["loss"], line["tokens_per_second"])
                stops = stop.is_set() or self.iteration - began == stop_after
                ends = self.progress >= 1.0 or bool(self.processes.agreed(stops))
                evaluates = self.progress >= 1.0 or self.iteration % self.config.evaluation.interval == 0
                if evaluates:
                    held_out_loss = line["held_out_loss"] = self.evaluate()
                    self._require_finite(held_out_loss)  # before a checkpoint would keep what nothing mends
                metrics.write(line)
                if evaluates or ends:
                    metrics.flush()  # first: a checkpoint must not be ahead of the lines
                    self.save(best=evaluates and self._is_best(held_out_loss))
                if evaluates:
                    reporter.evaluated(self.iteration, held_out_loss, self._sample())
                if ends:
                    break
        took = max(self.seconds - already, 1e-9)
        return TrainResult(
            self.iteration, held_out_loss, self.best_loss, self.seconds, tokens / took, interrupted=self.progress < 1.0
        )

    def threads(self) -> AbstractContextManager[None]:
        """Within it, operators use the cores that suit the model."""
        return operator_threads(1 if is_narrow(self.shape.dim) else cores())

    @property
    def length(self) -> int:
        """Positions of a sequence at this point of the run."""
        return sequence_length(self.shape.max_seq_len, self.progress, self.config.batch.growth)

    def step(self) -> dict[str, Any]:
        """One update of the weights; returns its line for the metrics, without the speed."""
        config, progress, length = self.config, self.progress, self.length
        count = config.batch.sequences * (self.shape.max_seq_len // length)
        schedule = config.schedule
        factor = learning_rate_factor(self.iteration, progress, warmup=schedule.warmup, final=schedule.final)
        self.model.train()
        self._seed_dropout()
        self.optimizers.zero_grad()
        accumulation = config.batch.accumulation
        loss = 0.0
        for part in range(accumulation):
            batch = self.batches.draw(count, length)
            loss += self.gradients.add(*batch, 1.0 / accumulation, last=part == accumulation - 1) / accumulation
        self._require_finite(loss)
        nn.utils.clip_grad_norm_(self.model.parameters(), config.optimizer.clip_norm)
        self.optimizers.step(factor)
        self.iteration += 1
        self.average.update(self.iteration)
        tokens = count * length * accumulation
        return {"iter": self.iteration, "loss": loss, "lr": factor * config.learning_rate, "tokens": tokens}

    def _require_finite(self, loss: float) -> None:
        if not math.isfinite(loss):
            raise LlgenError(
                f"the loss became {loss} after iteration {self.iteration}: training diverged",
                f"optimizer.learning_rate below {self.config.learning_rate:g}",
            )

    def _seed_dropout(self) -> None:
        """What is dropped follows from the iteration and the process, so that a continued run drops the same."""
        if self.config.batch.dropout:
            seed = (self.config.seed << 40) + (self.iteration << 12) + self.processes.rank
            torch.manual_seed(seed % (1 << 63))

    @torch.no_grad()
    def evaluate(self) -> float:
        """Mean cross-entropy over the held-out batches, as far as sequences reach by now.

        A model that has only seen short sequences fails behind them, which says nothing of what it has learned.
        """
        self.model.eval()
        device = self.processes.device
        losses: list[float] = []
        with self.average.applied(), arithmetic(device, self.dtype):
            for batch in self.held_out:
                inputs, targets = (part[:, : self.length] for part in batch)
                losses.append(float(self.operators.cross_entropy(self.model(inputs.to(device)), targets.to(device))))
        return self.processes.mean(sum(losses) / len(losses))

    def _is_best(self, held_out_loss: float) -> bool:
        """Whether no evaluation was better so far; one of longer sequences always is."""
        better = (-self.length, held_out_loss) < (-self.best_length, self.best_loss)
        if better:
            self.best_length, self.best_loss = self.length, held_out_loss
        return better

    def _sample(self) -> str | None:
        """A few words for whoever watches; none where the weights are divided, or the prompt fills the context."""
        evaluation = self.config.evaluation
        if not evaluation.prompt or self.config.hardware.shard or not self.processes.leads:
            return None
        if len(self.vocabulary.encode(evaluation.prompt)) >= self.shape.max_seq_len:
            return None
        self.model.eval()
        # Compiled, the model would be compiled again for steps of one token.
        with self.average.applied(), torch.compiler.set_stance("force_eager"):
            return sample_text(self.model, self.vocabulary, evaluation.prompt, evaluation.sample_tokens)

    def _logs(self) -> Path | None:
        return self.directory if self.processes.leads else None

    # ---------------------------------------------------------------------------------------------- checkpoints

    def save(self, *, best: bool = False) -> None:
        """Write `last.pt`; and `best.pt`, the weights alone, when the evaluation just done was the best so far."""
        state = {
            "model": weights(self.model),
            "optimizers": optimizer_state(self.model, self.optimizers),
            "data": self.data_key,
            "batches": self.batches.state,
            "iteration": self.iteration,
            "seconds": self.seconds,
            "best_loss": self.best_loss,
            "best_length": self.best_length,
        }
        with self.average.applied():
            averaged = weights(self.model) if self.average.tensors else state["model"]
            if self.average.tensors:
                state["average"] = averaged
        if self.processes.leads:
            if best:
                write_checkpoint({"model": averaged, "iteration": self.iteration}, self.directory / BEST)
            write_checkpoint(state, self.directory / LAST)

    def load(self) -> None:
        """Go back to `last.pt`; raises LlgenError when it does not fit the configuration."""
        path = self.directory / LAST
        state = read_checkpoint(path)
        try:
            if state["data"] != self.data_key:
                raise LlgenError(
                    f"'{self.directory}' was begun with other tokens: the text or the tokenizer has changed since",
                    "the text as it was, to go on; or another -o",
                )
            if self.average.tensors:
                set_weights(self.model, state["average"])
                self.average.reset()
            set_weights(self.model, state["model"])
            set_optimizer_state(self.model, self.optimizers, state["optimizers"])
            self.batches.state = state["batches"]
            self.iteration, self.seconds = int(state["iteration"]), float(state["seconds"])
            self.best_loss, self.best_length = float(state["best_loss"]), int(state["best_length"])
        except (KeyError, ValueError, RuntimeError) as error:
            reason = str(error).partition("\n")[0]
            raise LlgenError(f"'{path}' does not fit this run's config.json: {reason}", "start a new run") from error
