"""A training run and its directory; the same call starts a run or continues it.

The directory holds `config.json`, `tokenizer.model`, `tokens/` (unless the data was tokenised before), `last.pt` and
`best.pt`, which continuing needs, and `metrics.jsonl` and `curve.png`, which are for people.
"""

from __future__ import annotations

import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from types import FrameType

from llgen.errors import UsageError
from llgen.paths import Pathlike
from llgen.shown import shown, shown_value
from llgen.sole_writer import is_passing, require_no_file, sole_writer
from llgen.whole import unfinished_name

from .checkpoint import BEST, LAST
from .choices import with_choices, with_choices_of
from .config import TrainConfig
from .device import choose_device
from .layers import differences
from .metrics import METRICS, draw_curve
from .prepare import prepare, prepared
from .processes import Processes, joined
from .progress import Reporter, Silent
from .start import with_shape_of_start
from .train import Trainer, TrainResult

CONFIG = "config.json"
_FILES = (CONFIG, "tokenizer.model", "tokenizer.key", LAST, BEST, METRICS, "curve.png")
_FOLDERS = ("tokens", "tensorboard")


def train(
    directory: Pathlike, asked: TrainConfig, reporter: Reporter | None = None, *, stop_after: int | None = None
) -> TrainResult:
    """Start a run in `directory`, or continue the run there; the losses are the same as without an interruption.

    Ctrl-C or SIGTERM ends it after the current iteration, `stop_after` after that number of iterations; another call
    continues it. Under `torchrun`, every process calls this and computes a part. Only one call at a time may write a
    directory: another one waits.
    Raises UsageError when the run in `directory` was started with other settings. Raises LlgenError when the run cannot
    be read; when the data is missing, too short or changed; and when the loss diverges.
    """
    directory = Path(directory)
    if asked.schedule.iterations is None and asked.schedule.minutes is None:
        raise UsageError("training needs an end", "--iterations N, or --minutes M")
    device = choose_device(asked.hardware.device)
    with joined(device) as processes, ExitStack() as held:
        talk: Reporter = reporter if reporter is not None and processes.leads else Silent()
        asked = with_shape_of_start(asked)
        asked.model.resolved()  # contradictory dimensions are refused before any work
        _require_shares(asked, processes)
        require_no_file(directory)
        if (directory / CONFIG).exists():
            _settled(directory, asked, processes)  # other settings are refused before waiting for the lock
        processes.leader_does(lambda: held.enter_context(sole_writer(directory)))
        config = _settled(directory, asked, processes)
        try:
            processes.leader_does(lambda: _prepared_or_given_back(config, directory, talk, held))
            result = _trained(directory, config, processes, talk, stop_after)
            if processes.leads and result.iteration:
                draw_curve(directory)
        finally:
            talk.close()
    return result


def _trained(
    directory: Path, config: TrainConfig, processes: Processes, talk: Reporter, stop_after: int | None
) -> TrainResult:
    """Train on the prepared data. Nothing refers to the trainer afterwards, so `joined` can free it."""
    trainer = _trainer(directory, config, processes)
    if processes.leads:
        config.save(directory / CONFIG)  # last, because this file makes the directory a run
    trained = sum(parameter.numel() for parameter in trainer.model.parameters() if parameter.requires_grad)
    talk.begins(trained, len(trainer.text), len(trainer.text.starts), trainer.iteration)
    with closing(trainer), stop_on_signals() as stop:  # until here, an interruption may stop anywhere
        return trainer.run(talk, stop, stop_after)


def _prepared_or_given_back(config: TrainConfig, directory: Path, talk: Reporter, held: ExitStack) -> None:
    """Prepare the data; on failure, release the directory's lock before the other processes learn of the failure.

    They then end, and torchrun ends this process as soon as they have ended.
    """
    try:
        prepare(config, directory, talk)
    except BaseException:
        held.close()
        raise


def _trainer(directory: Path, config: TrainConfig, processes: Processes) -> Trainer:
    ready = prepared(config, directory)
    trainer = Trainer(directory, config, ready.data, ready.vocabulary, processes)
    if (directory / LAST).exists():
        trainer.load()
    return trainer


def _settled(directory: Path, asked: TrainConfig, processes: Processes) -> TrainConfig:
    """The configuration with the choices of a new run, or of the run in `directory`.

    Raises UsageError when the run in `directory` was started with other settings.
    """
    if not (directory / CONFIG).exists():
        _refuse_foreign(directory)
        return with_choices(asked, processes)
    begun = TrainConfig.load(directory / CONFIG)
    asked = with_choices_of(begun, asked)
    changed = differences(begun, asked)
    if changed:
        key = changed[0]
        old, new = (shown_value(_value(config, key)) for config in (begun, asked))
        raise UsageError(
            f"'{directory}' holds a run with {key}={old}, and {new} was asked for",
            "give the settings of its start to continue it, or another -o",
        )
    return asked


def _refuse_foreign(directory: Path) -> None:
    """Raise UsageError when a folder that is not a run holds a file that no run writes."""
    own = {*_FILES, *_FOLDERS, *map(unfinished_name, _FILES)}  # a kill may have left unfinished files
    names = [entry.name for entry in directory.iterdir()] if directory.exists() else []
    foreign = sorted(name for name in names if name not in own and not is_passing(name))
    if foreign:
        raise UsageError(
            f"'{directory}' holds '{shown(foreign[0])}' and is not a training run",
            "choose an empty or new folder for -o",
        )


def _value(config: TrainConfig, key: str) -> object:
    value: object = config
    for part in key.split("."):
        value = getattr(value, part)
    return value


def _require_shares(config: TrainConfig, processes: Processes) -> None:
    """Raise UsageError when a batch cannot be divided equally, or `shard` is set with one process."""
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
    """Delete the files of a run; other files of its directory stay."""
    for name in _FILES:
        (directory / name).unlink(missing_ok=True)
    for name in _FOLDERS:
        shutil.rmtree(directory / name, ignore_errors=True)


@contextmanager
def stop_on_signals() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C sets, so that an iteration is always completed; the second raises
    KeyboardInterrupt.

    SIGTERM counts as a Ctrl-C: batch systems, containers and `timeout` send it before they end a process.
    """
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop  # only the main thread can handle signals
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
