"""Records of a run for people: metrics.jsonl with a line for each iteration, TensorBoard's events, the loss curve."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from llgen.errors import LlgenError
from llgen.shown import shown_error
from llgen.whole import cannot_write, replacing

METRICS = "metrics.jsonl"
_SCALARS = {
    "loss": "loss/train",
    "held_out_loss": "loss/held_out",
    "lr": "lr",
    "tokens_per_second": "tokens_per_second",
    "memory_bytes": "memory_bytes",
}


class MetricsLog:
    """Appends to `metrics.jsonl`, and to TensorBoard's events when the package tensorboard is installed."""

    def __init__(self, directory: Path | None, iteration: int) -> None:
        """Continue after `iteration`: lines of later iterations, which no checkpoint contains, are removed.

        Without a directory nothing is written: only one process of a group writes the log.
        """
        self._file: IO[str] | None = None
        self._path = Path()
        self._board: Any = None
        if directory is None:
            return
        self._path = path = directory / METRICS
        kept = list(_complete_lines(path, iteration)) if path.exists() else []
        with replacing(path) as temporary:  # after a kill, the earlier lines must still be there
            temporary.write_text("".join(kept), encoding="utf-8")
        self._file = path.open("a", encoding="utf-8")
        self._board = _tensorboard(directory / "tensorboard", iteration)

    def write(self, line: dict[str, Any]) -> None:
        """Append the numbers of one iteration."""
        if self._file is not None:
            self._file.write(json.dumps(line) + "\n")
        if self._board is not None:
            for key, tag in _SCALARS.items():
                if key in line:
                    self._board.add_scalar(tag, line[key], line["iter"])

    def flush(self) -> None:
        """Write buffered lines to the files; raises LlgenError when the system refuses."""
        if self._file is not None:
            try:
                self._file.flush()
            except OSError as error:
                raise cannot_write(self._path, error) from error
        if self._board is not None:
            self._board.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            with suppress(OSError):  # `flush` reported it, or no checkpoint contains the lost lines
                self._file.close()
        if self._board is not None:
            self._board.close()


def read_metrics(directory: Path) -> list[dict[str, Any]]:
    """The lines of a run's metrics.jsonl, in order; raises LlgenError when it is missing, unreadable or empty."""
    try:
        lines = (directory / METRICS).read_text(encoding="utf-8").splitlines()
        metrics = [json.loads(line) for line in lines]
    except (OSError, ValueError) as error:
        raise LlgenError(
            f"'{directory}' has no readable {METRICS}: {shown_error(error)}", "is this a training run?"
        ) from error
    if not metrics:
        raise LlgenError(f"'{directory / METRICS}' holds no iteration yet", "train first")
    return metrics


def draw_curve(directory: Path) -> Path | None:
    """Draw the losses and the learning rate as `curve.png`; returns None when matplotlib is not installed."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        return None
    metrics = read_metrics(directory)
    held_out = [line for line in metrics if "held_out_loss" in line]
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    losses = figure.subplots()
    iterations = [line["iter"] for line in metrics]
    losses.plot(iterations, [line["loss"] for line in metrics], color="0.8", linewidth=0.6, label="a batch")
    losses.plot(iterations, _smooth([line["loss"] for line in metrics]), color="tab:blue", label="batches, smoothed")
    if held_out:
        at, values = [line["iter"] for line in held_out], [line["held_out_loss"] for line in held_out]
        losses.plot(at, values, "o-", color="tab:orange", markersize=3, label="held out")
    losses.set(xlabel="iteration", ylabel="loss, nats per token")
    rates = losses.twinx()
    rates.plot(iterations, [line["lr"] for line in metrics], color="tab:green", linewidth=0.8, linestyle=":")
    rates.set_ylabel("learning rate (dotted)")
    losses.legend(loc="upper right", frameon=False)
    path = directory / "curve.png"
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120, metadata={"Software": None})
    return path


def _smooth(values: Iterable[float], decay: float = 0.98) -> list[float]:
    """An exponential moving average, corrected for its start: the first values are not pulled towards zero."""
    smoothed: list[float] = []
    total = weight = 0.0
    for value in values:
        total, weight = decay * total + value, decay * weight + 1.0
        smoothed.append(total / weight)
    return smoothed


def _complete_lines(path: Path, iteration: int) -> Iterable[str]:
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True)[:iteration]:
        if line.endswith("\n"):
            yield line


def _tensorboard(directory: Path, iteration: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ModuleNotFoundError:
        return None
    return SummaryWriter(str(directory), purge_step=iteration + 1)
