"""The training loop: batch, gradients, step; evaluation; and checkpoints from which the same losses follow."""

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

from llgen.codegen.model.vocabulary import Vocabulary
from llgen.errors import LlgenError
from llgen.shown import shown

from .average import WeightAverage
from .checkpoint import BEST, LAST, read_checkpoint, write_checkpoint
from .config import TrainConfig
from .data import Batches, TokenizedData
from .device import arithmetic, choose_dtype, cores, deterministic, is_narrow, operator_threads, peak_memory
from .distributed import Distributed, shard_weights
from .gradients import Alone, Gradients
from .judgement import Kept, require_better_than_chance
from .metrics import MetricsLog
from .optimizer import make_optimizers
from .processes import Processes
from .progress import Reporter
from .replicas import Replicas
from .sample import sample_text
from .schedule import learning_rate_factor, sequence_length
from .start import first_model, objective, operators
from .state import optimizer_state, set_optimizer_state, set_weights, weights


@dataclass(frozen=True)
class TrainResult:
    """The result of a call of training; losses are in nats per token."""

    iteration: int
    """Iterations done, including those of earlier calls."""
    held_out_loss: float
    """Held-out loss of this call's last evaluation; NaN when it ended before the first."""
    kept: Kept
    """The weights with the lowest held-out loss at the longest sequences evaluated."""
    seconds: float
    """Time spent in iterations and evaluations, including earlier calls."""
    tokens_per_second: float
    interrupted: bool
    """Whether the call stopped before the end of the run; the checkpoint is of its last iteration."""


class Trainer:
    """A model, its optimisers and its position in the data: everything that a checkpoint holds."""

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
        self.kept = Kept()

    def _ways_to_gradients(self) -> Gradients:
        hardware, device = self.config.hardware, self.processes.device
        loss = objective(self.config, self.vocabulary, device)
        if hardware.compile:
            self.model.compile()
        if hardware.shard:
            shard_weights(self.model)
        if self.processes.world > 1:
            return Distributed(self.model, loss, self.processes, self.dtype)
        if (hardware.replicas or 1) > 1 and device.type == "cpu":  # a run may be continued on another machine
            return Replicas(
                self.model, partial(first_model, self.config, device), loss, hardware.replicas or 1, self.dtype
            )
        return Alone(self.model, loss, device, self.dtype)

    def close(self) -> None:
        """End the processes of its replicas."""
        self.gradients.close()

    # ------------------------------------------------------------------------------------------------- the loop

    @property
    def progress(self) -> float:
        """From 0 to 1: the iterations done or the time spent, as a share of the configured end."""
        if self.config.schedule.iterations is not None:
            return self.iteration / self.config.schedule.iterations
        assert self.config.max_seconds is not None
        return self.seconds / self.config.max_seconds

    def run(self, reporter: Reporter, stop: Event, stop_after: int | None = None) -> TrainResult:
        """Iterate to the end, until `stop` is set, or for `stop_after` iterations; then write a checkpoint.

        Raises WorseThanChance, after writing a checkpoint, when more training would be useless.
        """
        began, already, tokens, held_out_loss = self.iteration, self.seconds, 0, math.nan
        losses: list[float] = []
        before = None
        with self.threads(), self.algorithms(), MetricsLog(self._logs(), self.iteration) as metrics:
            started = time.monotonic()
            while self.progress < 1.0:
                step_began = time.monotonic()
                line = self.step()
                now = time.monotonic()
                self.seconds = self.processes.agreed(already + now - started)
                tokens += line["tokens"]
                line["tokens_per_second"] = round(line["tokens"] / (now - step_began), 1)
                line["memory_bytes"] = peak_memory(self.processes.device)
                losses.append(line["loss"])
                reporter.step(min(1.0, self.progress), self.iteration, line["loss"], line["tokens_per_second"])
                stops = stop.is_set() or self.iteration - began == stop_after
                ends = self.progress >= 1.0 or bool(self.processes.agreed(stops))
                evaluates = self.progress >= 1.0 or self.iteration % self.config.evaluation.interval == 0
                if evaluates:
                    held_out_loss = line["held_out_loss"] = self.evaluate()
                    self._require_finite(held_out_loss)  # before a checkpoint keeps weights that cannot recover
                metrics.write(line)
                if evaluates or ends:
                    metrics.flush()  # first, so that no checkpoint is newer than the lines
                    self.save(best=evaluates and self._is_best(held_out_loss))
                if evaluates:
                    reporter.evaluated(self.iteration, held_out_loss, self._sample(), self.kept)
                    self._require_better_than_chance(held_out_loss, before, sum(losses) / len(losses))
                    before, losses = held_out_loss, []
                if ends:
                    break
        if self.progress >= 1.0:  # also when an earlier call reached the end
            self._require_better_than_chance(self.kept.loss, None, math.nan)
        took = max(self.seconds - already, 1e-9)
        return TrainResult(
            self.iteration, held_out_loss, self.kept, self.seconds, tokens / took, interrupted=self.progress < 1.0
        )

    def _require_better_than_chance(self, held_out_loss: float, before: float | None, trained: float) -> None:
        ends = self.progress >= 1.0
        require_better_than_chance(held_out_loss, before, trained, self.shape.vocab_size, self.kept, ends=ends)

    def threads(self) -> AbstractContextManager[None]:
        """Inside the block, operators use one core for a narrow model, else all cores."""
        return operator_threads(1 if is_narrow(self.shape.dim) else cores())

    def algorithms(self) -> AbstractContextManager[None]:
        """Inside the block, a compiled model on a CPU sums in the same order every time; other operators always do.

        On a GPU, not every operator has a deterministic algorithm, so last digits may differ.
        """
        return deterministic(self.config.hardware.compile and self.processes.device.type == "cpu")

    @property
    def length(self) -> int:
        """Positions of a sequence in the next batch."""
        return sequence_length(self.shape.max_seq_len, self.progress, self.config.batch.growth)

    def step(self) -> dict[str, Any]:
        """Update the weights once; returns the line for metrics.jsonl, without the speed."""
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
        """Seed dropout by the iteration and the process, so that a continued run drops the same elements."""
        if self.config.batch.dropout:
            seed = (self.config.seed << 40) + (self.iteration << 12) + self.processes.rank
            torch.manual_seed(seed % (1 << 63))

    @torch.no_grad()
    def evaluate(self) -> float:
        """Mean cross-entropy over the held-out batches, cut to the present length of sequences.

        A model that was trained on short sequences fails at later positions; that does not tell what it has learned.
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
        """Whether this evaluation is the best so far; with longer sequences than before, it always is."""
        before = self.kept
        self.kept = before.beside(Kept(held_out_loss, self.length, self.iteration))
        return self.kept is not before

    def _sample(self) -> str | None:
        """A short generated text; None when the weights are divided, or the prompt is empty or fills the context."""
        evaluation = self.config.evaluation
        if not evaluation.prompt or self.config.hardware.shard or not self.processes.leads:
            return None
        if len(self.vocabulary.encode(evaluation.prompt)) >= self.shape.max_seq_len:
            return None
        self.model.eval()
        # A compiled model would be compiled again for steps of one token.
        with self.average.applied(), torch.compiler.set_stance("force_eager"):
            return sample_text(self.model, self.vocabulary, evaluation.prompt, evaluation.sample_tokens)

    def _logs(self) -> Path | None:
        return self.directory if self.processes.leads else None

    # ---------------------------------------------------------------------------------------------- checkpoints

    def save(self, *, best: bool = False) -> None:
        """Write `last.pt`; with `best`, also write the weights to `best.pt`."""
        state = {
            "model": weights(self.model),
            "optimizers": optimizer_state(self.model, self.optimizers),
            "data": self.data_key,
            "batches": self.batches.state,
            "iteration": self.iteration,
            "seconds": self.seconds,
            "best_loss": self.kept.loss,
            "best_length": self.kept.length,
            "best_iteration": self.kept.iteration,
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
        """Continue from `last.pt`; raises LlgenError when it does not fit the configuration."""
        path = self.directory / LAST
        state = read_checkpoint(path)
        try:
            if state["data"] != self.data_key:
                raise LlgenError(
                    f"'{self.directory}' was started with other tokens: the text or the tokenizer has changed since",
                    "restore the text to continue the run, or choose another -o",
                )
            if self.average.tensors:
                set_weights(self.model, state["average"])
                self.average.reset()
            set_weights(self.model, state["model"])
            set_optimizer_state(self.model, self.optimizers, state["optimizers"])
            self.batches.state = state["batches"]
            self.iteration, self.seconds = int(state["iteration"]), float(state["seconds"])
            self.kept = Kept(float(state["best_loss"]), int(state["best_length"]), int(state.get("best_iteration", 0)))
        except (KeyError, ValueError, RuntimeError) as error:
            reason = str(error).partition("\n")[0]
            raise LlgenError(
                f"'{path}' does not fit this run's config.json: {shown(reason, 200)}", "start a new run"
            ) from error
