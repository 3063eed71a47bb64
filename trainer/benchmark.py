"""Training speed compared with a plain PyTorch loop of the same model: `python -m llgen.trainer.benchmark`.

Both loops train the same shape on the same batches of full length, alternating within one run; the medians are
compared. The plain loop is a first implementation: one model, AdamW, and all cores of the machine for every operator.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click
import torch
from torch import nn

from llgen.codegen.model.vocabulary import Vocabulary

from .choices import with_choices
from .config import TrainConfig
from .corpus import stories
from .data import Batches, TokenizedData, tokenize
from .device import cores, operator_threads
from .layers import layered, read_preset, setting
from .model import Llama
from .operators import cross_entropy
from .processes import Processes
from .tokenizer import train_tokenizer
from .train import Trainer

_STORIES = 2_000


@click.command()
@click.option("--preset", default="stories-260k", show_default=True, help="Shape and settings of the model.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change a setting of the preset.")
@click.option("--rounds", default=7, show_default=True, help="How often both loops run; medians are compared.")
@click.option("--seconds", default=4.0, show_default=True, help="Time of each loop in each round.")
def main(preset: str, settings: tuple[str, ...], rounds: int, seconds: float) -> None:
    """Compare the tokens per second of llgen and of a plain PyTorch loop."""
    fixed = {"batch": {"growth": 0.0}, "schedule": {"iterations": 1_000_000}, "data": {"stories": _STORIES}}
    config = layered([read_preset(preset), fixed, *map(setting, settings)])
    config = with_choices(config, Processes())
    with tempfile.TemporaryDirectory() as folder:
        loops = _loops(config, Path(folder))
        speeds: dict[str, list[float]] = {name: [] for name in loops}
        for name in loops:
            _speed(loops[name], 1.0)
        for done in range(rounds):
            for name, step in loops.items():
                speeds[name].append(_speed(step, seconds))
            latest = ", ".join(f"{name} {speeds[name][-1]:,.0f}" for name in loops)
            click.echo(f"round {done + 1}: {latest}", err=True)
    medians = {name: statistics.median(values) for name, values in speeds.items()}
    ratios = [ours / plain for ours, plain in zip(speeds["llgen"], speeds["plain"], strict=True)]
    click.echo(
        json.dumps(
            {
                "preset": preset,
                "cores": cores(),
                "replicas": config.hardware.replicas,
                "tokens_per_second": {name: round(median) for name, median in medians.items()},
                "ratio": round(statistics.median(ratios), 3),
            }
        )
    )


def _loops(config: TrainConfig, folder: Path) -> dict[str, Callable[[], int]]:
    """Both loops by name; each is a step that returns the number of tokens it trained on."""
    texts = [text for _, text in zip(range(_STORIES), stories(1), strict=False)]
    vocabulary = train_tokenizer(texts, config.model.vocab_size)
    data = tokenize(texts, vocabulary, folder / "tokens")
    return {"plain": _plain(config, data), "llgen": _ours(config, data, vocabulary, folder)}


def _plain(config: TrainConfig, data: TokenizedData) -> Callable[[], int]:
    shape, count = config.model.resolved(), config.batch.sequences
    model = Llama(shape)
    optimizer = torch.optim.AdamW(model.parameters(), config.learning_rate)
    batches = Batches(data.train, config.seed)

    def step() -> int:
        with operator_threads(cores()):
            inputs, targets = batches.draw(count, shape.max_seq_len)
            optimizer.zero_grad()
            cross_entropy(model(inputs), targets).backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(model.parameters(), config.optimizer.clip_norm)
            optimizer.step()
            return inputs.numel()

    return step


def _ours(config: TrainConfig, data: TokenizedData, vocabulary: Vocabulary, folder: Path) -> Callable[[], int]:
    trainer = Trainer(folder, config, data, vocabulary, Processes())

    def step() -> int:
        with trainer.threads():
            return int(trainer.step()["tokens"])

    return step


def _speed(step: Callable[[], int], seconds: float) -> float:
    tokens, began = 0, time.perf_counter()
    while (took := time.perf_counter() - began) < seconds:
        tokens += step()
    return tokens / took


if __name__ == "__main__":
    main()
