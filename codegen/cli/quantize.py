"""`llgen quantize`: a float32 model becomes one of integers, with what that costs and saves."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from llgen.codegen.checkpoint import load_checkpoint
from llgen.codegen.errors import ExitCode, LlgenError, UsageError
from llgen.codegen.estimate import Estimate, estimate
from llgen.codegen.kernels import select
from llgen.codegen.matrix import IntMatrix
from llgen.codegen.plan import matrix_sizes
from llgen.codegen.quantize import CACHES, QuantModel, assemble, bits_of, fold, round_to_nearest
from llgen.codegen.quantized import save_quantized
from llgen.codegen.spec import lower
from llgen.targets.schema import Target, load_target

from .options import answer, json_option, kib, model_argument, need_torch, say, spinner, target_option

if TYPE_CHECKING:
    from torch import Tensor

    from llgen.codegen.quantize import FoldedModel
    from llgen.trainer.quantize.compare import Comparison
    from llgen.trainer.quantize.gptq import Curvature

_PATH = click.Path(path_type=Path)
_SAMPLE_LENGTH = 256
_SENSITIVITY_BATCHES = 8


@click.command("quantize")
@model_argument
@click.option("--scheme", type=click.Choice(["q8", "q4"]), required=True, help="Bits of a weight.")
@click.option("--kv", type=click.Choice(CACHES), help="Format of keys and values.  [default: q8]")
@click.option(
    "--method",
    type=click.Choice(["rtn", "gptq", "distill"]),
    default="gptq",
    show_default=True,
    help="rtn: round to nearest.",
)
@click.option("--bits", type=click.Choice(["auto"]), help="With --flash: 8 or 4 for each matrix, by what each suffers.")
@click.option("--flash", help="Flash that weights, tables and code may take on --target: 200K, 1.5M, or bytes.")
@click.option("--calibrate", type=_PATH, help="Text to calibrate on.  [default: what the model writes itself]")
@click.option("--documents", type=click.IntRange(min=1), default=512, show_default=True, help="Of that text.")
@click.option("--iterations", type=click.IntRange(min=1), default=1500, show_default=True, help="Of --method distill.")
@click.option("--data", type=_PATH, help="Text to measure the cost on, another than --calibrate.  [default: none]")
@click.option("--data-documents", type=click.IntRange(min=1), default=300, show_default=True, help="Of that text.")
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
    documents: int,
    iterations: int,
    data: Path | None,
    data_documents: int,
    output: Path,
    target: str,
    as_json: bool,
) -> None:
    """Quantise MODEL and write it as a model directory that build, run and check read.

    Rounding to nearest needs no text and no PyTorch. GPTQ rounds so that what a matrix computes on the calibration's
    text stays. Distilling begins there, and trains the integers towards what the float32 model says of that text; it
    takes minutes.
    """
    if method == "rtn" and calibrate is not None:
        raise UsageError("--method rtn calibrates nothing", "leave --calibrate out, or --method gptq")
    if (bits is None) != (flash is None) or (bits and (scheme != "q4" or method == "rtn")):
        raise UsageError(
            "--bits auto and --flash go together, with --scheme q4 and gptq or distill", "give all of them"
        )
    budget = None if flash is None else _bytes(flash)
    facts = load_target(target)
    folded = fold(lower(load_checkpoint(model)))
    with spinner("quantising") as progress:
        if method == "rtn":
            result = round_to_nearest(folded, scheme, kv)
        else:
            need_torch()
            progress("calibrating")
            batches = _batches(folded, calibrate, documents)
            curvature = _curvature(folded, batches)
            result = _gptq(folded, scheme, kv, curvature)
            if budget is not None:
                progress("measuring what each matrix suffers")
                eights = _gptq(folded, "q8", kv, curvature)
                result = _within(folded, result, eights, batches, budget, facts)
            if method == "distill":
                result = _distilled(folded, result, batches, iterations, progress)
        save_quantized(result, output)
        progress("measuring what it costs")
        costs = _costs(folded, result, data, data_documents) if data is not None else {}
    sizes = {"f32": estimate(round_to_nearest(folded, "f32"), facts), scheme: estimate(result, facts)}
    if as_json:
        answer(_as_json(output, result, method, costs, sizes))
    else:
        _tell(output, result, method, costs, sizes, facts)


def _batches(folded: FoldedModel, calibrate: Path | None, documents: int) -> list[Tensor]:
    from llgen.trainer.data import Source
    from llgen.trainer.quantize.calibration import batches_of_samples, batches_of_text
    from llgen.trainer.quantize.folded import FoldedLlama

    spec = folded.spec
    if calibrate is None:
        length = min(spec.context, _SAMPLE_LENGTH)
        return batches_of_samples(*FoldedLlama.exact(folded), spec.config.bos_id, documents, length)
    if spec.vocabulary is None:
        raise LlgenError(f"'{spec.name}' has no tokenizer, so it cannot read a text", "leave --calibrate out")
    batches = batches_of_text(Source(calibrate).documents(), spec.vocabulary, spec.context, documents)
    if not batches:
        raise LlgenError(f"'{calibrate}' holds no text to calibrate on", "another text, or none")
    return batches


def _curvature(folded: FoldedModel, batches: list[Tensor]) -> Curvature:
    from llgen.trainer.quantize.folded import FoldedLlama
    from llgen.trainer.quantize.gptq import Curvature

    return Curvature(*FoldedLlama.exact(folded), batches)


def _gptq(folded: FoldedModel, scheme: str, kv: str | None, curvature: Curvature) -> QuantModel:
    from llgen.trainer.quantize.gptq import round_with_curvature

    rounded = {
        name: round_with_curvature(values, curvature[name], bits_of(scheme, name))
        for name, values in folded.matrices.items()
    }
    return assemble(folded, scheme, kv, rounded)


def _within(
    folded: FoldedModel, fours: QuantModel, eights: QuantModel, batches: list[Tensor], budget: int, target: Target
) -> QuantModel:
    """The model whose matrices have 8 bits where the flash allows, and it helps most.

    Raises LlgenError (does not fit) when even 4 bits for all are too many.
    """
    from llgen.trainer.quantize.allocate import allocate, sensitivities
    from llgen.trainer.quantize.folded import FoldedLlama

    four, eight = _ints(fours), _ints(eights)
    kernels = select(target.isa)
    choice = {name: matrix for name, matrix in four.items() if matrix.bits == 4}
    small, large = matrix_sizes(fours, kernels), matrix_sizes(eights, kernels)
    savings = {name: large[name] - small[name] for name in choice}
    excess = estimate(eights, target).flash_bytes - budget
    if excess > sum(savings.values()):
        least = estimate(fours, target).flash_bytes
        raise LlgenError(
            f"'{fours.name}' needs {least:,} bytes of flash with 4 bits for every matrix; --flash allows {budget:,}",
            f"--flash {least}, or a smaller model",
            ExitCode.DOES_NOT_FIT,
        )
    suffering = sensitivities(*FoldedLlama.exact(folded), eight, choice, batches[:_SENSITIVITY_BATCHES])
    chosen = allocate(suffering, savings, excess)
    return assemble(folded, "q4", fours.kv, {name: four[name] if name in chosen else eight[name] for name in eight})


def _ints(model: QuantModel) -> dict[str, IntMatrix]:
    return {name: matrix for name, matrix in model.matrices().items() if isinstance(matrix, IntMatrix)}


def _bytes(text: str) -> int:
    units = {"K": 1 << 10, "M": 1 << 20}
    number, unit = (text[:-1], text[-1].upper()) if text[-1:].upper() in units else (text, "")
    try:
        return int(float(number) * units.get(unit, 1))
    except ValueError as error:
        raise UsageError(f"--flash is '{text}'", "bytes, or 200K, or 1.5M") from error


def _distilled(
    folded: FoldedModel, start: QuantModel, batches: list[Tensor], iterations: int, progress: Callable[[str], None]
) -> QuantModel:
    from llgen.trainer.quantize.distill import Course, distill

    def told(iteration: int, loss: float) -> None:
        progress(f"distilling: {iteration:,} of {iterations:,} iterations, {loss:.4f} nats")

    return distill(folded, start, batches, Course(iterations), told)


def _costs(folded: FoldedModel, result: QuantModel, data: Path, documents: int) -> dict[str, Comparison]:
    need_torch()
    from llgen.trainer.data import Source
    from llgen.trainer.quantize.compare import Contender, compare
    from llgen.trainer.quantize.folded import FoldedLlama

    vocabulary = folded.spec.vocabulary
    if vocabulary is None:
        raise LlgenError(f"'{folded.spec.name}' has no tokenizer, so it cannot read a text", "leave --data out")
    reference = Contender(*FoldedLlama.exact(folded))
    texts: Iterable[str] = islice(Source(data).documents(), documents)
    return compare(reference, {"f32": reference, result.scheme: Contender.of(result)}, vocabulary, texts)


def _bits_a_weight(model: QuantModel) -> float:
    """Scales and multipliers included."""
    total = weights = 0.0
    for matrix in _ints(model).values():
        rows, columns = matrix.shape
        weights += rows * columns
        total += rows * columns * matrix.bits + 16 * rows
        total += 0 if matrix.multipliers is None else 8 * matrix.multipliers.size
    return total / weights


def _as_json(
    output: Path, model: QuantModel, method: str, costs: dict[str, Comparison], sizes: dict[str, Estimate]
) -> dict[str, Any]:
    rows = {
        name: {
            "flash_bytes": size.flash_bytes,
            "ram_bytes": size.ram_bytes,
            **(vars(costs[name]) if name in costs else {}),
        }
        for name, size in sizes.items()
    }
    return {
        "model": str(output),
        "scheme": model.scheme,
        "kv": model.kv,
        "method": method,
        "bits_a_weight": _bits_a_weight(model),
        "schemes": rows,
    }


def _tell(
    output: Path,
    model: QuantModel,
    method: str,
    costs: dict[str, Comparison],
    sizes: dict[str, Estimate],
    target: Target,
) -> None:
    average = _bits_a_weight(model)
    say(f"wrote {output}: scheme {model.scheme}, cache {model.kv}, by {method}, {average:.2f} bits a weight")
    for name, size in sizes.items():
        words = f"{name:4} on {target.name}: flash {kib(size.flash_bytes)}, RAM {kib(size.ram_bytes)}"
        if name in costs:
            cost = costs[name]
            words += (
                f"; {cost.nats_per_token:.4f} nats, perplexity x{cost.ratio:.4f} ±{cost.standard_error:.4f},"
                f" KL {cost.kl:.4f}, same likeliest token {cost.top1:.1%}"
            )
        say(words)
    say(f"next: llgen check {output}")
