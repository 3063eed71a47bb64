"""`llgen train`: text, the user's or made up, becomes a model directory."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from llgen.codegen.config import ModelConfig
from llgen.codegen.errors import LlgenError, UsageError

from .options import answer, json_option, say

if TYPE_CHECKING:  # training alone imports torch
    from llgen.trainer.progress import Reporter
    from llgen.trainer.train import TrainResult

_STORIES = 30_000
_INTERRUPTED = 130
_STILL_OPEN_ON_RESUME = {"resume", "output", "iterations", "minutes", "as_json"}


def _at_least(low: int) -> click.IntRange:
    return click.IntRange(min=low)


@click.command(name="train")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="A text file, or a folder of .txt files.  [default: stories made up by llgen]",
)
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder of the run.")
@click.option("--resume", is_flag=True, help="Go on with the run in the folder.")
@click.option("--iterations", type=_at_least(1), help="Steps of the optimiser.")
@click.option("--minutes", type=click.FloatRange(min=0.0, min_open=True), help="Time to train, instead.  [default: 2]")
@click.option("--vocab-size", type=_at_least(1), default=512, show_default=True, help="Pieces of the tokenizer.")
@click.option("--dim", type=_at_least(1), default=64, show_default=True, help="Width of the model.")
@click.option("--layers", type=_at_least(1), default=5, show_default=True, help="Decoder layers.")
@click.option("--heads", type=_at_least(1), default=8, show_default=True, help="Query heads; divides --dim.")
@click.option("--kv-heads", type=_at_least(1), help="Key and value heads; divides --heads.  [default: half of them]")
@click.option("--hidden", type=_at_least(1), help="Width of the feed-forward.  [default: 8/3 of --dim]")
@click.option("--context", type=_at_least(2), default=512, show_default=True, help="Positions of a sequence.")
@click.option("--batch", type=_at_least(1), default=2, show_default=True, help="Sequences of full length at once.")
@click.option("--accumulate", type=_at_least(1), default=1, show_default=True, help="Batches a step.")
@click.option("--lr", type=float, help="Peak learning rate.  [default: 0.008 at --dim 64, less the wider]")
@click.option("--warmup", type=_at_least(0), default=50, show_default=True, help="Steps until the peak.")
@click.option("--weight-decay", type=float, default=0.1, show_default=True)
@click.option("--eval-interval", type=_at_least(1), default=500, show_default=True, help="Steps between evaluations.")
@click.option("--seed", type=_at_least(0), default=1, show_default=True)
@json_option
@click.pass_context
def command(ctx: click.Context, /, output: Path, resume: bool, as_json: bool, **options: object) -> int:
    """Train a model on --data and write it to RUN/model.

    Ctrl-C stops after the iteration at hand; --resume goes on from there, to the same losses.
    In a file, a line <|endoftext|> parts two documents where there is one; otherwise blank lines do.
    """
    try:
        import torch  # noqa: F401  (is it there?)
    except ModuleNotFoundError as error:
        raise LlgenError("training needs PyTorch, which is not installed", "pip install 'llgen[train]'") from error
    from llgen.trainer.export import export_run
    from llgen.trainer.progress import ConsoleReporter

    if options["iterations"] is not None and options["minutes"] is not None:
        raise UsageError("--iterations and --minutes both say when training ends", "give one of them")
    reporter = ConsoleReporter()
    result = _resume(ctx, output, reporter) if resume else _start(ctx, output, reporter)
    model = output / "model"
    if not result.interrupted:
        export_run(output, model)
    if as_json:
        answer(_as_json(result, output, model))
    _tell(result, output, model)
    return _INTERRUPTED if result.interrupted else 0


def _start(ctx: click.Context, run: Path, reporter: Reporter) -> TrainResult:
    from llgen.trainer.config import TrainConfig, usual_learning_rate
    from llgen.trainer.prepare import prepare
    from llgen.trainer.train import refuse_existing_run, start_run

    given = ctx.params
    config = TrainConfig(
        model=_shape(ctx),
        iterations=given["iterations"],
        max_seconds=_seconds(ctx, default=2.0),
        batch_size=given["batch"],
        accumulation=given["accumulate"],
        learning_rate=given["lr"] if given["lr"] is not None else usual_learning_rate(given["dim"]),
        warmup=given["warmup"],
        weight_decay=given["weight_decay"],
        seed=given["seed"],
        eval_interval=given["eval_interval"],
    )
    refuse_existing_run(run)
    vocabulary, dataset = prepare(
        given["data"], given["vocab_size"], given["context"], reporter, stories=_STORIES, seed=given["seed"]
    )
    reporter.stage(f"training {config.model.parameter_count:,} parameters on {len(dataset.train):,} tokens")
    return start_run(run, config, dataset, vocabulary, reporter)


def _resume(ctx: click.Context, run: Path, reporter: Reporter) -> TrainResult:
    from llgen.trainer.train import resume_run

    for name in ctx.params:
        if name not in _STILL_OPEN_ON_RESUME and ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            option = "--" + name.replace("_", "-")
            raise UsageError(f"{option} was settled when the run began", f"leave {option} out, or start a new run")
    return resume_run(run, reporter, iterations=ctx.params["iterations"], max_seconds=_seconds(ctx, default=None))


def _shape(ctx: click.Context) -> ModelConfig:
    given = ctx.params
    dim, heads = given["dim"], given["heads"]
    if dim % heads:
        raise UsageError(f"--dim is {dim}, which --heads {heads} does not divide", f"--dim {-(-dim // heads) * heads}")
    return ModelConfig(
        dim=dim,
        hidden_dim=given["hidden"] or -(-dim * 8 // 12) * 4,  # 8/3 of dim, rounded up to a multiple of 4
        n_layers=given["layers"],
        n_heads=heads,
        n_kv_heads=given["kv_heads"] or max(1, heads // 2 if heads % 2 == 0 else heads),
        head_dim=dim // heads,
        vocab_size=given["vocab_size"],
        max_seq_len=given["context"],
    )


def _seconds(ctx: click.Context, default: float | None) -> float | None:
    minutes: float | None = ctx.params["minutes"]
    if minutes is None and ctx.params["iterations"] is None:
        minutes = default
    return None if minutes is None else minutes * 60.0


def _as_json(result: TrainResult, run: Path, model: Path) -> dict[str, object]:
    return {
        "run": str(run),
        "model": None if result.interrupted else str(model),
        "iterations": result.iteration,
        "held_out_loss": result.held_out_loss,
        "seconds": round(result.seconds, 3),
        "tokens_per_second": round(result.tokens_per_second, 1),
        "interrupted": result.interrupted,
    }


def _tell(result: TrainResult, run: Path, model: Path) -> None:
    if result.interrupted:
        say(f"stopped after iteration {result.iteration}; held-out loss {result.held_out_loss:.3f} nats/token")
        say(f"go on with: llgen train -o {shlex.quote(str(run))} --resume")
        return
    say(
        f"held-out loss {result.held_out_loss:.3f} nats/token after {result.iteration:,} iterations"
        f" ({result.seconds:.0f} s, {result.tokens_per_second:,.0f} tokens/s)"
    )
    say(f"wrote {model}")
    say(f"next: llgen build {shlex.quote(str(model))} -o out")
