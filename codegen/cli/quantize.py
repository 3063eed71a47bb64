"""`llgen quantize`: round a float32 model to integers, and print the cost and the size."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from llgen.errors import ExitCode, LlgenError, UsageError
from llgen.targets.schema import load_target
from llgen.trainer.quantize.course import ITERATIONS, MOST_CALIBRATED, TEACHER_WEIGHT, Course

from ..formats.hf.directory import load_checkpoint
from ..formats.hf.folder import require_room
from ..formats.hf.training_record import RECORD, pack_reading, read_reading
from ..model.checkpoint import Checkpoint
from ..model.spec import lower
from ..quantise.quantize import CACHES, QuantModel, quantize
from ..quantise.quantized import save_quantized
from .options import FilePath, field_option, model_argument, need_torch, separator_option, take_folder, target_option
from .output import answer, json_option, say, spinner
from .quantize_options import budget_of, require_distilling, require_fields, require_sense, require_texts
from .scheme_table import Row, as_json_rows, rows_of, table

if TYPE_CHECKING:
    from llgen.trainer.data import Source
    from llgen.trainer.quantize.recipe import Recipe

_PATH = FilePath()
_DOCUMENTS = {"gptq": MOST_CALIBRATED, "distill": 10_000}
_WRITTEN = {"gptq": MOST_CALIBRATED, "distill": 2048}
"""Number of texts that the model writes when no text is given."""


@click.command("quantize")
@model_argument
@click.option("--scheme", type=click.Choice(["q8", "q4"]), required=True, help="Number format.")
@click.option("--kv", type=click.Choice(CACHES), help="Format of keys and values.  [default: q8]")
@click.option(
    "--method",
    type=click.Choice(["rtn", "gptq", "distill"]),
    default="gptq",
    show_default=True,
    help="rtn: round to nearest.",
)
@click.option(
    "--bits",
    metavar="auto|AVERAGE",
    help="4, 5, 6 or 8 bits for each matrix, by its sensitivity: to fit --flash, or for this average.",
)
@click.option("--flash", help="With --bits auto: flash for weights, tables and code on --target. 200K, 1.5M, or bytes.")
@click.option("--calibrate", type=_PATH, help="Text to calibrate on.  [default: texts that the model writes]")
@click.option(
    "--documents",
    type=click.IntRange(min=1),
    help="Documents of --calibrate.  [default: 512, the maximum for gptq; distill: 10,000]",
)
@click.option(
    "--written",
    type=click.IntRange(min=0),
    help="Texts that the model writes for calibration.  [default: 512, the maximum for gptq; distill: 2,048; "
    "with --calibrate: 0]",
)
@click.option("--iterations", type=click.IntRange(min=1), help=f"For distill.  [default: {ITERATIONS:,}]")
@click.option(
    "--teacher-weight",
    type=click.FloatRange(0.0, 1.0),
    help="For distill: weight of the float32 model's predictions in the loss; the rest is the weight of the text."
    f"  [default: {TEACHER_WEIGHT}; for texts that the model writes: 1]",
)
@click.option("--data", type=_PATH, help="Text to measure the cost on, not that of --calibrate.  [default: none]")
@click.option("--data-documents", type=click.IntRange(min=1), default=300, show_default=True, help="Documents of it.")
@field_option
@separator_option
@click.option("-o", "--output", type=_PATH, required=True, help="The model directory to write.")
@target_option
@json_option
def command(
    model: Path,
    scheme: str,
    kv: str | None,
    method: str,
    bits: str | None,
    flash: str | None,
    calibrate: Path | None,
    documents: int | None,
    written: int | None,
    iterations: int | None,
    teacher_weight: float | None,
    data: Path | None,
    data_documents: int,
    field: str | None,
    separator: str | None,
    output: Path,
    target: str,
    as_json: bool,
) -> int:
    """Quantise MODEL and write it as a model directory that build, run and check read.

    Rounding to nearest needs no text and no PyTorch. GPTQ rounds so that the outputs of each matrix on the calibration
    text change little. Distillation begins with the result of GPTQ, and trains integers and scales to predict like the
    float32 model; it takes minutes to hours. After Ctrl-C, the same command continues.
    """
    require_sense(scheme, method, bits, flash)
    require_texts(method, calibrate, documents, written)
    require_fields(calibrate, data, field, separator)
    require_distilling(method, calibrate, iterations, teacher_weight)
    facts = load_target(target)
    budget = budget_of(bits, flash, facts)
    checkpoint = load_checkpoint(model)
    if output.resolve() == model.resolve():
        raise UsageError(f"-o is '{model}' itself, whose float32 weights would be lost", "choose another -o")
    if method != "rtn":
        need_torch(f"--method {method}")
    text = _text(checkpoint, "--calibrate", calibrate, field, separator)
    measured = _text(checkpoint, "--data", data, field, separator)
    require_room(output)
    take_folder(output)
    if calibrate is not None and calibrate == data:
        say("the cost will be measured on the calibration text; a different text would measure it better")
    if method == "rtn":
        result = quantize(lower(checkpoint), scheme, kv)
    else:
        from llgen.trainer.quantize.recipe import Recipe

        recipe = Recipe(
            scheme,
            kv,
            calibrate=text,
            documents=documents or _DOCUMENTS[method],
            written=written if written is not None else 0 if calibrate is not None else _WRITTEN[method],
            budget=budget,
            course=Course.of(iterations or ITERATIONS, checkpoint.config.dim) if method == "distill" else None,
            teacher_weight=TEACHER_WEIGHT if teacher_weight is None else teacher_weight,
        )
        made = _calibrated(checkpoint, output, recipe)
        if isinstance(made, ExitCode):
            return made
        result = made
    record = read_reading(model)
    save_quantized(result, output, {} if record is None else {RECORD: pack_reading(record)})
    if method == "distill":
        shutil.rmtree(_workspace(output), ignore_errors=True)
    if not as_json:
        _tell_bits(output, result, method)
    rows = rows_of(checkpoint, result, method, facts, measured, data_documents)
    if as_json:
        answer(_as_json(output, result, method, rows))
        return ExitCode.DONE
    for line in table(rows, facts):
        say(line)
    say(f"next: llgen check {output}")
    return ExitCode.DONE


def _text(
    checkpoint: Checkpoint, option: str, path: Path | None, field: str | None, separator: str | None
) -> Source | None:
    """The text of an option; raises LlgenError or UsageError, before any work, when it cannot be used."""
    if path is None:
        return None
    need_torch(option)
    if checkpoint.vocabulary is None:
        raise LlgenError(f"'{checkpoint.name}' has no tokenizer, so it cannot read a text", f"leave {option} out")
    if not path.exists():
        raise UsageError(f"{option}: '{path}' does not exist", "a file of text or JSON lines, or a folder of them")
    from llgen.trainer.data import Source
    from llgen.trainer.evaluate import encode_documents

    source = Source(path, field, separator)
    if next(encode_documents(source.documents(), checkpoint.vocabulary, checkpoint.config.lead, 1), None) is None:
        raise LlgenError(f"{option}: '{path}' holds no text", f"another text, or leave {option} out")
    return source


def _workspace(output: Path) -> Path:
    """Folder of an unfinished distillation: beside the output folder, even if that is the current folder."""
    place = output.resolve()
    return place.with_name(f".{place.name}.unfinished")


def _calibrated(checkpoint: Checkpoint, output: Path, recipe: Recipe) -> QuantModel | ExitCode:
    """The quantised model, or the exit code of an interruption."""
    from llgen.trainer.quantize.distill import Interrupted
    from llgen.trainer.quantize.recipe import quantize_with_data
    from llgen.trainer.run import stop_on_signals

    workspace = _workspace(output)
    with spinner("quantising") as progress:
        if recipe.course is None:
            return quantize_with_data(checkpoint, recipe, workspace, told=progress)
        with stop_on_signals() as stop:
            try:
                return quantize_with_data(checkpoint, recipe, workspace, stop, progress)
            except Interrupted as stopped:
                say(f"{stopped}; the same command continues")
                return ExitCode.INTERRUPTED


def _as_json(output: Path, model: QuantModel, method: str, rows: Mapping[str, Row]) -> dict[str, Any]:
    return {
        "model": str(output),
        "scheme": model.scheme,
        "kv": model.kv,
        "method": method,
        "bits_a_weight": model.bits_a_weight,
        "bits": {name: matrix.bits for name, matrix in model.matrices.items()},
        "schemes": as_json_rows(rows),
    }


def _with_bits(model: QuantModel, bits: int) -> list[str]:
    return [name for name, matrix in model.matrices.items() if matrix.bits == bits]


def _tell_bits(output: Path, model: QuantModel, method: str) -> None:
    average = f"{model.bits_a_weight:.2f} bits per weight"
    say(f"wrote {output}: scheme {model.scheme}, cache {model.kv}, by {method}, {average}")
    most, *others = sorted(model.bits_used, key=lambda bits: -len(_with_bits(model, bits)))
    for bits in sorted(others, reverse=True):
        say(f"{bits} bits: {', '.join(_with_bits(model, bits))}")
    if others:
        say(f"{most} bits: all others")
