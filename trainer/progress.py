"""Progress reports of a training run: the protocol, a silent reporter, and a progress bar on standard error."""

from __future__ import annotations

from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from .judgement import Kept, course


class Reporter(Protocol):
    """Receives the events of a run."""

    def stage(self, text: str) -> None:
        """A stage begins that takes some time; `text` names it."""

    def begins(self, parameters: int, tokens: int, documents: int, iteration: int) -> None:
        """Training begins; `iteration` is 0, or the iteration after which it continues."""

    def step(self, progress: float, iteration: int, loss: float, tokens_per_second: float) -> None:
        """An iteration is done; `progress` goes from 0 to 1, `loss` is in nats per token."""

    def evaluated(self, iteration: int, loss: float, sample: str | None, kept: Kept) -> None:
        """The held-out `loss` was measured; `sample` is generated text or None; `kept` describes the best weights."""

    def close(self) -> None:
        """The run is over; a second call does nothing."""


class Silent:
    """A reporter that prints nothing."""

    def stage(self, text: str) -> None:
        pass

    def begins(self, parameters: int, tokens: int, documents: int, iteration: int) -> None:
        pass

    def step(self, progress: float, iteration: int, loss: float, tokens_per_second: float) -> None:
        pass

    def evaluated(self, iteration: int, loss: float, sample: str | None, kept: Kept) -> None:
        pass

    def close(self) -> None:
        pass


class ConsoleReporter:
    """On a terminal, a progress bar with loss and tokens per second, removed at the end; else a line at each tenth."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True, highlight=False)
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._tenth = 0

    def stage(self, text: str) -> None:
        self._console.print(text, style="dim", markup=False)

    def begins(self, parameters: int, tokens: int, documents: int, iteration: int) -> None:
        after = f", continuing after iteration {iteration:,}" if iteration else ""
        of = "one document" if documents == 1 else f"{documents:,} documents"
        self.stage(f"training {parameters:,} parameters on {tokens:,} tokens of {of}{after}")

    def step(self, progress: float, iteration: int, loss: float, tokens_per_second: float) -> None:
        words = f"iteration {iteration}  loss {loss:.3f}  {tokens_per_second:,.0f} tokens/s"
        if not self._console.is_terminal:
            if int(progress * 10) > self._tenth:
                self._tenth = int(progress * 10)
                self._console.print(f"{progress:4.0%}  {words}", markup=False)
            return
        if self._bar is None or self._task is None:
            columns = (BarColumn(), TextColumn("{task.percentage:3.0f}%"), TimeElapsedColumn())
            self._bar = Progress(*columns, TextColumn("{task.description}"), console=self._console, transient=True)
            self._task = self._bar.add_task("", total=1.0)
            self._bar.start()
        self._bar.update(self._task, completed=progress, description=words)

    def evaluated(self, iteration: int, loss: float, sample: str | None, kept: Kept) -> None:
        self._console.print(f"iteration {iteration}: {course(loss, iteration, kept)}", markup=False, soft_wrap=True)
        if sample is not None:
            self._console.print("  " + " ".join(sample.split()), style="dim", markup=False)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
