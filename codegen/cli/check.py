"""`llgen check`: prove that the compiled C computes what Python computes."""

from __future__ import annotations

import dataclasses
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from llgen.codegen.build import DIGEST_POSITIONS, build_cached, expected_trace
from llgen.codegen.checkpoint import Checkpoint, load_checkpoint
from llgen.codegen.errors import ExitCode
from llgen.codegen.parity import Closeness, closeness, first_divergence, first_token_difference
from llgen.codegen.quantize import QuantModel, quantize
from llgen.codegen.reference import Reference, Trace
from llgen.codegen.runner import missing_emulator, run_selftest
from llgen.codegen.spec import lower
from llgen.targets.schema import Target, load_target

from .options import answer, context_option, json_option, model_argument, say, scheme_option, spinner, target_option


@click.command(name="check")
@model_argument
@click.option("--positions", type=click.IntRange(min=1), help="Positions to compare.  [default: 64]")
@click.option("--torch/--no-torch", default=True, help="Compare with PyTorch, too, when it is installed.")
@target_option
@scheme_option
@context_option
@json_option
def command(
    model: Path,
    positions: int | None,
    torch: bool,
    target: str,
    scheme: str,
    context: int | None,
    as_json: bool,
) -> int:
    """Compare the compiled C of MODEL with the NumPy reference, bit for bit, and that with PyTorch.

    Exits 4 when anything differs, and says where first.
    """
    checkpoint = load_checkpoint(model)
    quantized = quantize(lower(checkpoint, context), scheme)
    count = min(positions or DIGEST_POSITIONS, quantized.context)
    with spinner("computing the reference") as progress:
        expected = expected_trace(quantized, count)
        rows = [_check_target(checkpoint, quantized, load_target(target), expected, context, progress)]
        close = _check_torch(checkpoint, quantized, expected) if torch and find_spec("torch") else None
    good = all(row["equal"] is not False for row in rows)
    result = {
        "model": checkpoint.name,
        "scheme": scheme,
        "positions": count,
        "reference_digest": expected.digest_hex,
        "targets": rows,
        "torch": dataclasses.asdict(close) if close else None,
    }
    if as_json:
        answer(result)
    else:
        _tell(result, close)
    return ExitCode.DONE if good else ExitCode.PARITY_FAILED


def _check_target(
    checkpoint: Checkpoint, model: QuantModel, target: Target, expected: Trace, context: int | None, progress: Any
) -> dict[str, Any]:
    built = build_cached(checkpoint, target, scheme=model.scheme, context=context, progress=progress)
    row: dict[str, Any] = {
        "target": target.name,
        "digest": None,
        "equal": None,
        "skipped": missing_emulator(target),
        "first_difference": None,
        "instructions_per_token": None,
        "flash_bytes": built.facts["flash_bytes"],
        "ram_bytes": built.facts["ram_bytes"],
    }
    if row["skipped"]:
        return row
    progress(f"running on {target.name}")
    found = run_selftest(built.artifact, len(expected.tokens))
    row |= {"digest": found.digest_hex, "equal": found == expected}
    if not row["equal"]:
        progress("looking for the first difference")
        options = {"scheme": model.scheme, "context": context}
        where = first_divergence(checkpoint, model, target, len(expected.tokens), **options)
        row["first_difference"] = (
            str(where) if where else first_token_difference(expected, found) or "only in the build without trace"
        )
    return row


def _check_torch(checkpoint: Checkpoint, model: QuantModel, expected: Trace) -> Closeness:
    from llgen.trainer.oracle import torch_logits

    return closeness(Reference(model).feed(expected.tokens), torch_logits(checkpoint, expected.tokens))


def _tell(result: dict[str, Any], close: Closeness | None) -> None:
    click.echo(f"{result['model']}, scheme {result['scheme']}, {result['positions']} positions")
    click.echo(f"  {'python':<16} {result['reference_digest']}")
    for row in result["targets"]:
        verdict = "equal" if row["equal"] else f"DIFFERS at {row['first_difference']}"
        click.echo(f"  {row['target']:<16} {row['digest'] or '-':<8} {row['skipped'] or verdict}")
    if close is not None:
        click.echo(
            f"  PyTorch: largest difference {close.max_difference:.1e} of a row's range, "
            f"KL {close.kl:.1e} nats, same likeliest token {close.top1:.1%}"
        )
    else:
        say("PyTorch was not asked: pip install 'llgen[train]' brings it")
