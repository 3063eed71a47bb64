"""A run and its directory: begun, or gone on with, by the same call.

The directory holds `config.json`, `tokenizer.model`, `tokens/` (unless the data was tokenised before), `last.pt`,
`best.pt`, `metrics.jsonl` and `curve.png`: all that going on needs, and all that a person looks at.
"""

from __future__ import annotations

import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import FrameType

from llgen.codegen.errors import UsageError

from .choices import with_choices, with_choices_of
from .config import TrainConfig
from .device import choose_device
from .files import SUFFIX
from .layers import differences
from .metrics import METRICS, draw_curve
from .prepare import prepare, prepared
from .processes import Processes, joined
from .progress import Reporter, Silent
from .start import with_shape_of_start
from .train import BEST, LAST, Trainer, TrainResult

CONFIG = "config.json"
_FILES = (CONFIG, "tokenizer.model", "tokenizer.key", LAST, BEST, METRICS, "curve.png")
_FOLDERS = ("tokens", "tensorboard")


def train(
    directory: Path, asked: TrainConfig, reporter: Reporter | None = None, *, stop_after: int | None = None
) -> TrainResult:
    """Begin the run in a directory, or go on with the one that is there, to the same losses as without a break.

    Ctrl-C, or a request to terminate, ends it after the iteration at hand, `stop_after` after so many; calling again
    goes on. Under `torchrun` all processes call this, and share the work.
    Raises UsageError when the run that is there was begun with other settings, LlgenError when it cannot be read, when
    the data is missing, too short or not what it was, and when the loss diverges.
    """
    if asked.schedule.iterations is None and asked.schedule.minutes is None:
        raise UsageError("training needs an end", "--iterations N, or --minutes M")
    device = choose_device(asked.hardware.device)
    with joined(device) as processes:
        talk: Reporter = reporter if reporter is not None and processes.leads else Silent()
        config = _settled(directory, with_shape_of_start(asked), processes)
        config.model.resolved()  # what does not go together is refused before any work
        _require_shares(config, processes)
        try:
            processes.leader_does(lambda: prepare(config, directory, talk))
            trainer = _trainer(directory, config, processes)
            if processes.leads:
                config.save(directory / CONFIG)  # after all it speaks of: it makes the directory a run
            trained = sum(parameter.numel() for parameter in trainer.model.parameters() if parameter.requires_grad)
            talk.begins(trained, len(trainer.text), len(trainer.text.starts), trainer.iteration)
            with closing(trainer), stop_on_signals() as stop:  # before, an interruption may end things anywhere
                result = trainer.run(talk, stop, stop_after)
            if processes.leads and result.iteration:
                draw_curve(directory)
        finally:
            talk.close()
    return result


def _trainer(directory: Path, config: TrainConfig, processes: Processes) -> Trainer:
    ready = prepared(config, directory)
    trainer = Trainer(directory, config, ready.data, ready.vocabulary, processes)
    if (directory / LAST).exists():
        trainer.load()
    return trainer


def _settled(directory: Path, asked: TrainConfig, processes: Processes) -> TrainConfig:
    """The configuration with what a new run decides by itself, or an old one has decided.

    Raises UsageError when a run is there that was begun with other settings.
    """
    if directory.exists() and not directory.is_dir():
        raise UsageError(f"'{directory}' exists and is a file", "choose another -o")
    if not (directory / CONFIG).exists():
        _refuse_foreign(directory)
        return with_choices(asked, processes)
    begun = TrainConfig.load(directory / CONFIG)
    asked = with_choices_of(begun, asked)
    changed = differences(begun, asked)
    if changed:
        key = changed[0]
        raise UsageError(
            f"'{directory}' holds a run with {key}={_value(begun, key)}, and {_value(asked, key)} was asked for",
            "the settings it was begun with, to go on with it; or another -o",
        )
    return asked


def _refuse_foreign(directory: Path) -> None:
    """Raise UsageError when a folder that is no run yet holds what a run would not have left there."""
    own = {*_FILES, *_FOLDERS, *(name + SUFFIX for name in _FILES)}  # a kill may have left files half written
    foreign = sorted(entry.name for entry in directory.iterdir() if entry.name not in own) if directory.exists() else []
    if foreign:
        raise UsageError(f"'{directory}' holds '{foreign[0]}' and is no training run", "an empty or a new -o")


def _value(config: TrainConfig, key: str) -> object:
    value: object = config
    for part in key.split("."):
        value = getattr(value, part)
    return value


def _require_shares(config: TrainConfig, processes: Processes) -> None:
    """Raise UsageError when there is not the same for every process to do, or one alone is to divide the model."""
    if config.hardware.shard and processes.world == 1:
        raise UsageError(
            "hardware.shard divides the model among processes, and there is only one",
            "start the command by torchrun, or leave --shard out",
        )
    if config.batch.sequences % processes.world:
        raise UsageError(
            f"batch.sequences is {config.batch.sequences}, which {processes.world} processes do not divide",
            f"batch.sequences={-(-config.batch.sequences // processes.world) * processes.world}",
        )


def clear_run(directory: Path) -> None:
    """Delete the files of a run, and nothing else that its directory may hold."""
    for name in _FILES:
        (directory / name).unlink(missing_ok=True)
    for name in _FOLDERS:
        shutil.rmtree(directory / name, ignore_errors=True)


@contextmanager
def stop_on_signals() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C sets, so that an iteration is never cut in half; the second one interrupts.

    SIGTERM counts as one: so batch systems, containers and `timeout` announce the end.
    """
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop  # only the main thread may handle signals
        return
    signals = (signal.SIGINT, signal.SIGTERM)
    previous = [signal.getsignal(number) for number in signals]

    def handle(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    for number in signals:
        signal.signal(number, handle)
    try:
        yield stop
    finally:
        for number, handler in zip(signals, previous, strict=True):
            signal.signal(number, handler)
