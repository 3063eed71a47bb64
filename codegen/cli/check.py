"""`llgen check`: prove that the compiled C computes what Python computes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from llgen.errors import ExitCode, UsageError
from llgen.targets.schema import Target, load_target, target_names

from ..build.folder import DIGEST_POSITIONS, Progress, expected_trace
from ..check.parity import Closeness, closeness
from ..check.verify import Verdict, verify, verify_leniently
from ..formats.hf.directory import load_checkpoint
from ..plan.extras import Extras
from ..plan.tuning import Values, read_values
from ..quantise.quantize import QuantModel
from ..quantise.quantized import is_quantized, read_model
from ..reference.forward import Reference, Trace
from ..run.serial_line import normal_digest, read_digest
from . import against as other
from .completion import complete_target
from .options import (
    FilePath,
    bake_prompt_option,
    chosen_extras,
    context_option,
    kv_option,
    list_option,
    listed,
    model_argument,
    require_positions,
    scheme_option,
    speculate_option,
    tuning_option,
)
from .output import answer, json_option, say, spinner


@click.command(name="check")
@model_argument
@click.option("--positions", type=click.IntRange(min=1), help="Positions to compare.  [default: 64]")
@click.option("--torch/--no-torch", default=True, help="Also compare with PyTorch, when it is installed.")
@click.option(
    "--against",
    type=click.Choice(["transformers"]),
    help="Also compare logits and token ids with another program that reads the same files.",
)
@click.option(
    "--source",
    type=FilePath(exists=True),
    help="With --against: the GGUF file or Hugging Face directory that MODEL was imported from.",
)
@list_option(
    "--target",
    default="host",
    complete=complete_target,
    help="Target names or TOML files of facts, separated by commas; or all.",
)
@click.option("--digest", help="Compare with the digest that a device printed, instead of running a program.")
@click.option("--serial", metavar="PORT", help="Read the digest of a device from a serial port while it starts.")
@click.option("--baud", type=click.IntRange(min=1), default=115200, show_default=True, help="Speed of the serial port.")
@click.option("--timeout", type=float, default=60.0, show_default=True, help="Seconds to listen to the serial port.")
@scheme_option
@kv_option
@context_option
@bake_prompt_option
@speculate_option
@tuning_option
@json_option
def command(
    model: Path,
    positions: int | None,
    torch: bool,
    against: str | None,
    source: Path | None,
    target: str,
    digest: str | None,
    serial: str | None,
    baud: int,
    timeout: float,
    scheme: str | None,
    kv: str | None,
    context: int | None,
    bake_prompt: Path | None,
    drafts: int,
    tuning: Path | None,
    as_json: bool,
) -> int:
    """Compare the compiled C of MODEL with the NumPy reference, bit for bit, and the reference with PyTorch.

    --against transformers also compares the float32 model with what transformers reads from the same directory, or from
    --source. If llama.cpp is installed, it reads GGUF files of F32 weights instead of transformers.

    Exits 4 when anything differs, and prints the first difference. Exits 3 when the model does not fit one of the named
    targets.

    With --target all, a board that is too small for the model's context is built for the longest context that fits. The
    last line names the boards that the model does not fit at all; they do not change the exit code.
    """
    if digest is not None and serial is not None:
        raise UsageError("--digest and --serial exclude each other", "give one of them")
    typed = normal_digest(digest) if digest is not None else None
    other.require_comparable(against, source, model)
    quantized = read_model(model, scheme, kv, context)
    targets = [] if target == "all" else [load_target(name) for name in listed("--target", target)]
    sizes = _tuning(tuning, quantized, targets)
    extras = chosen_extras(quantized, bake_prompt, drafts)
    room = quantized.context - extras.cached
    require_positions("--positions", positions, room)
    count = min(positions or DIGEST_POSITIONS, room)
    with spinner("computing the reference") as progress:
        expected = expected_trace(quantized, count, extras.tokens)
        if typed or serial:
            progress(f"listening to {serial}")
            rows = [_device(serial or "device", typed or read_digest(str(serial), baud, timeout), expected)]
        else:
            rows = _verify(quantized, targets, extras, sizes, count, progress)
        fed = (*extras.tokens[:-1], *expected.tokens)
        close = _check_torch(model, quantized, fed) if torch and find_spec("torch") else None
        if against is not None:
            progress(f"asking {against}")
        agreement = None if against is None else other.ask(model, source, fed)
    result = {
        "model": quantized.name,
        "scheme": quantized.scheme,
        "kv": quantized.kv,
        "positions": count,
        "reference_digest": expected.digest_hex,
        "targets": [dataclasses.asdict(row) for row in rows],
        "torch": dataclasses.asdict(close) if close else None,
        "transformers": other.facts(agreement) if agreement else None,
    }
    if as_json:
        answer(result)
    else:
        _tell(result, rows, close)
        if agreement is not None:
            other.tell(agreement, quantized.scheme, source)
        if len(rows) > 1:
            click.echo(_summary(rows))
    if any(row.equal is False for row in rows) or (agreement is not None and not agreement.holds):
        return ExitCode.PARITY_FAILED
    return _exit_code(rows, named=bool(targets))


def _exit_code(rows: Sequence[Verdict], *, named: bool) -> ExitCode:
    """The exit code when all targets that ran were equal.

    A target that was asked for by name must run. With --target all, one target that ran is enough.
    """
    skipped = [row for row in rows if row.skipped]
    if any(row.error for row in rows):
        return ExitCode.FAILED
    if not skipped or (not named and len(skipped) < len(rows)):
        return ExitCode.DONE
    return ExitCode.FAILED if any(row.fits for row in skipped) else ExitCode.DOES_NOT_FIT


def _tuning(path: Path | None, model: QuantModel, targets: Sequence[Target]) -> Values | None:
    if path is None:
        return None
    if len(targets) != 1:
        raise UsageError("--tuning is for one target", "name one target with --target")
    return read_values(path, model, targets[0])


def _verify(
    model: QuantModel,
    targets: Sequence[Target],
    extras: Extras,
    tuning: Values | None,
    positions: int,
    progress: Progress,
) -> list[Verdict]:
    """Check the targets that were named, or all targets when none was named."""
    if len(targets) == 1:
        facts = targets[0]
        counts = facts.runner is not None and facts.runner.counter != "callgrind"  # callgrind is slow
        return [verify(model, facts, positions, counts=counts, progress=progress, extras=extras, tuning=tuning)]
    every = targets or [load_target(name) for name in target_names()]
    rows = []
    for at, facts in enumerate(every, start=1):

        def tell(what: str, where: str = f"{facts.name}, {at} of {len(every)}") -> None:
            progress(f"{where}: {what}")

        rows.append(verify_leniently(model, facts, positions, tell, extras, shortens=not targets))
    return rows


def _device(name: str, digest: str, expected: Trace) -> Verdict:
    equal = digest == expected.digest_hex
    return Verdict(
        name,
        digest=digest,
        equal=equal,
        first_difference=None if equal else "an unknown position: a digest does not tell which",
        positions=len(expected.tokens),
    )


def _check_torch(directory: Path, model: QuantModel, tokens: Sequence[int]) -> Closeness | None:
    """Compare with PyTorch; None for a quantised model directory, which does not hold the float32 model."""
    if is_quantized(directory):
        return None
    from llgen.trainer.oracle import torch_logits

    checkpoint = load_checkpoint(directory)
    return closeness(Reference(model).feed(tokens), torch_logits(checkpoint, tokens))


def _tell(result: dict[str, Any], rows: list[Verdict], close: Closeness | None) -> None:
    click.echo(f"{result['model']}, scheme {result['scheme']}, {result['positions']} positions")
    click.echo(f"  {'':<18} {'digest':<8} {'instr./token':>12} {'flash KiB':>10} {'RAM KiB':>8} {'context':>7}")
    click.echo(f"  {'python':<18} {result['reference_digest']}")
    for row in rows:
        cells = (
            f"{_number(row.instructions_per_token):>12} {_kib(row.flash_bytes):>10} {_kib(row.ram_bytes):>8} "
            f"{_number(row.context):>7}"
        )
        click.echo(f"  {row.target:<18} {row.digest or '-':<8} {cells}  {_words(row)}")
    if close is not None:
        click.echo(
            f"  PyTorch: largest difference {close.max_difference:.1e} of a row's range, "
            f"KL {close.kl:.1e} nats, same likeliest token {close.top1:.1%}"
        )
    elif not find_spec("torch"):
        say("comparison with PyTorch skipped; pip install 'llgen[train]' installs it")


def _summary(rows: Sequence[Verdict]) -> str:
    """The last line about several targets: how many are equal, and each of the others by name."""
    equal = sum(row.equal is True for row in rows)
    others = {
        "DIFFERS": [row.target for row in rows if row.equal is False],
        "FAILED": [row.target for row in rows if row.error],
        "does not fit": [row.target for row in rows if not row.fits],
        "not run": [row.target for row in rows if row.skipped and row.fits],
    }
    named = [f"; {what}: {', '.join(names)}" for what, names in others.items() if names]
    return f"{equal} of {len(rows)} targets equal{''.join(named)}"


def _words(row: Verdict) -> str:
    if row.error:
        return f"FAILED: {row.error.splitlines()[0]}"
    if row.skipped:
        return row.skipped
    return "equal" if row.equal else f"DIFFERS at {row.first_difference}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def _kib(count: int | None) -> str:
    return "-" if count is None else f"{count / 1024:,.1f}"
