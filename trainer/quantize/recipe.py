"""Quantising a float32 model with calibration and training: the steps in order, and the state that they save."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event

from torch import Tensor

from llgen.codegen.contract.matrix import LEVELS, IntMatrix, Matrix, to_bits
from llgen.codegen.model.checkpoint import Checkpoint
from llgen.codegen.model.spec import lower
from llgen.codegen.quantise.fold import FoldedModel, fold
from llgen.codegen.quantise.quantize import QuantModel, assemble, usual_bits
from llgen.codegen.quantise.quantized import load_quantized, save_quantized
from llgen.errors import LlgenError
from llgen.whole import replacing

from ..checkpoint import read_checkpoint, write_checkpoint
from ..data import Source
from ..model import Llama
from .allocate import Budget, Variant, sensitivities, within
from .calibration import batches_of_samples, batches_of_text, spread_over
from .course import TEACHER_WEIGHT, Course
from .distill import Interrupted, distill
from .folded import FoldedLlama
from .gptq import Curvature, round_with_curvature
from .lessons import Texts
from .smoothing import hidden_divisors, smoothed
from .workspace import claim
from .writing import written_texts

_WRITTEN_LENGTH = 256
_SENSITIVITY_BATCHES = 8
_DIVISORS = "divisors.pt"


@dataclass(frozen=True)
class Recipe:
    """How a model is quantised."""

    scheme: str
    kv: str | None
    calibrate: Source | None
    """The text for calibration; if there is one, GPTQ uses only this text."""
    documents: int
    """Maximum number of documents of the text."""
    written: int
    """Number of texts that the model writes itself."""
    budget: Budget | None
    """A limit that decides how many bits each matrix has; None: the scheme decides."""
    course: Course | None
    """The course of distillation; None: no distillation."""
    teacher_weight: float = TEACHER_WEIGHT
    """The share of the divergence from the float32 model in the loss on the text; 1 for texts that the model wrote."""


def quantize_with_data(
    checkpoint: Checkpoint,
    recipe: Recipe,
    workspace: Path,
    stop: Event | None = None,
    told: Callable[[str], None] = lambda what: None,
) -> QuantModel:
    """Calibrate, choose the bits, distil; returns the quantised model.

    `workspace` is a directory in which distillation saves its state; the same call continues from it. The caller
    deletes it once the result is saved.
    Raises Interrupted when `stop` is set meanwhile. Raises LlgenError when there is no text, when the budget is too
    small, or when the workspace holds the state of another model, text or recipe.
    """

    def tell(what: str) -> None:
        if stop is not None and stop.is_set():
            raise Interrupted("stopped while preparing")
        told(what)

    if checkpoint.config.max_seq_len < 2:
        raise LlgenError(
            f"'{checkpoint.name}' has a context of one position, so there is nothing to predict", "--method rtn"
        )
    folded = fold(lower(checkpoint), recipe.scheme)
    given = _given(folded, recipe, tell)
    if recipe.course is None:
        texts = Texts(given, [] if given else _written(checkpoint, recipe, None, tell))
        calibration = texts.calibration()
        return _calibrated(smoothed(folded, _divisors(folded, calibration, tell)), calibration, recipe, tell)
    settings = replace(recipe, calibrate=None)  # the content of the text counts, not its path
    claim(workspace, folded, given, repr(settings))
    texts = Texts(given, _written(checkpoint, recipe, workspace / "written", tell))
    folded, start = _start(folded, texts.calibration(), recipe, workspace / "start", tell)
    lessons, held_out = texts.lessons(recipe.teacher_weight)
    course = recipe.course
    return distill(
        folded,
        start,
        lessons,
        course,
        held_out=held_out,
        keep=workspace / "state.pt",
        stop=stop,
        told=lambda done, loss: told(f"distilling: {done:,} of {course.iterations:,} iterations, {loss:.4f} nats"),
    )


def _given(folded: FoldedModel, recipe: Recipe, told: Callable[[str], None]) -> list[Tensor]:
    if recipe.calibrate is None:
        return []
    spec = folded.spec
    if spec.vocabulary is None:
        raise LlgenError(f"'{spec.name}' has no tokenizer, so it cannot read a text", "leave --calibrate out")
    told("reading the text")
    batches = batches_of_text(
        recipe.calibrate.documents(), spec.vocabulary, spec.config.lead, spec.context, recipe.documents
    )
    if not batches:
        raise LlgenError(f"'{recipe.calibrate.path}' holds no text to calibrate on", "another text, or none")
    return batches


def _written(checkpoint: Checkpoint, recipe: Recipe, keep: Path | None, told: Callable[[str], None]) -> list[Tensor]:
    if not recipe.written:
        return []
    config = checkpoint.config
    parts = written_texts(
        Llama.from_checkpoint(checkpoint).eval(),
        config.start_id,
        recipe.written,
        min(config.max_seq_len, _WRITTEN_LENGTH) - 1,
        keep,
        lambda done: told(f"generating texts with the model: {done:,} of {recipe.written:,} texts"),
        () if checkpoint.vocabulary is None else checkpoint.vocabulary.padding,
    )
    return batches_of_samples(parts)


def _divisors(folded: FoldedModel, calibration: list[Tensor], told: Callable[[str], None]) -> list[Tensor]:
    return hidden_divisors(folded, calibration, lambda done: told(f"smoothing: {done} of {len(calibration)} batches"))


def _start(
    folded: FoldedModel, calibration: list[Tensor], recipe: Recipe, kept: Path, told: Callable[[str], None]
) -> tuple[FoldedModel, QuantModel]:
    """The smoothed model and the quantised model that distillation starts from; read from `kept` if it exists.

    The divisors are saved too, because their last digits depend on the machine.
    """
    if kept.exists():
        return smoothed(folded, read_checkpoint(kept / _DIVISORS)["divisors"]), load_quantized(kept)
    divisors = _divisors(folded, calibration, told)
    folded = smoothed(folded, divisors)
    start = _calibrated(folded, calibration, recipe, told)
    with replacing(kept) as unnamed:
        save_quantized(start, unnamed)
        write_checkpoint({"divisors": divisors}, unnamed / _DIVISORS)
    return folded, start


def _calibrated(
    folded: FoldedModel, calibration: list[Tensor], recipe: Recipe, told: Callable[[str], None]
) -> QuantModel:
    told("calibrating")
    curvature = Curvature(*FoldedLlama.exact(folded), calibration)
    looked_up = folded.spec.graph.only_looked_up

    def rounded(bits: Mapping[str, int]) -> QuantModel:
        matrices: dict[str, Matrix] = {}
        for name, values in folded.matrices.items():
            told(f"rounding {name} to {bits[name]} bits")
            if name in looked_up:  # it multiplies no vector, so its rows are rounded to nearest
                matrices[name] = to_bits(values, bits[name])
            else:
                matrices[name] = round_with_curvature(values, curvature[name], bits[name])
        return assemble(folded, recipe.kv, matrices)

    if recipe.budget is None:
        return rounded(usual_bits(folded.spec.config, recipe.scheme))
    models = {
        most: rounded({name: 8 if name in looked_up else most for name in folded.matrices}) for most in sorted(LEVELS)
    }

    def measured(variants: Mapping[Variant, IntMatrix]) -> Mapping[Variant, float]:
        return sensitivities(
            *FoldedLlama.exact(folded),
            models[8].integer_matrices(),
            variants,
            spread_over(calibration, _SENSITIVITY_BATCHES),
            lambda done: told(f"measuring the loss of each matrix: {done} of {len(variants)}"),
        )

    chosen = within(recipe.budget, models, measured)
    matrices = {name: models[bits].matrices[name] for name, bits in chosen.items()}
    return assemble(folded, recipe.kv, matrices)
