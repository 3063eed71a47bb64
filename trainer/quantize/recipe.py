"""From a float32 model to integers, by calibration and training: the steps in their order, and what they keep."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event

from torch import Tensor

from llgen.codegen.checkpoint import Checkpoint
from llgen.codegen.errors import LlgenError
from llgen.codegen.fold import FoldedModel, fold
from llgen.codegen.matrix import LEVELS, IntMatrix, Matrix, to_bits
from llgen.codegen.quantize import QuantModel, assemble, bits_of, only_looked_up
from llgen.codegen.quantized import load_quantized, save_quantized
from llgen.codegen.spec import lower

from ..checkpoint import read_checkpoint, write_checkpoint
from ..data import Source
from ..files import replacing
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
    """How a model is to become integers."""

    scheme: str
    kv: str | None
    calibrate: Source | None
    """The text; GPTQ goes by it alone, if there is one."""
    documents: int
    """Of that text, at most."""
    written: int
    """Texts that the model writes itself."""
    budget: Budget | None
    """Decides how many bits each matrix has; None: the scheme does."""
    course: Course | None
    """Of distillation; None leaves it out."""
    teacher_weight: float = TEACHER_WEIGHT
    """What the float32 model's opinion of the text counts. Of what it wrote itself there is no other."""


def quantize_with_data(
    checkpoint: Checkpoint,
    recipe: Recipe,
    workspace: Path,
    stop: Event | None = None,
    told: Callable[[str], None] = lambda what: None,
) -> QuantModel:
    """Calibrate, choose the bits, distil.

    `workspace` is a directory that distillation keeps its state in; the same call goes on from there. It is the
    caller's to delete, once the result is safe. Raises Interrupted when `stop` is set meanwhile; LlgenError when there
    is no text to be had, the budget is too small, or the workspace holds the state of another model, text or recipe.
    """

    def tell(what: str) -> None:
        if stop is not None and stop.is_set():
            raise Interrupted("stopped while preparing")
        told(what)

    if checkpoint.config.max_seq_len < 2:
        raise LlgenError(f"'{checkpoint.name}' has one position, which nothing can be learned at", "--method rtn")
    folded = fold(lower(checkpoint), recipe.scheme)
    given = _given(folded, recipe, tell)
    if recipe.course is None:
        texts = Texts(given, [] if given else _written(checkpoint, recipe, None, tell))
        calibration = texts.calibration()
        return _calibrated(smoothed(folded, _divisors(folded, calibration, tell)), calibration, recipe, tell)
    settings = replace(recipe, calibrate=None)  # what the text says counts, not where it lies
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
    batches = batches_of_text(recipe.calibrate.documents(), spec.vocabulary, spec.context, recipe.documents)
    if not batches:
        raise LlgenError(f"'{recipe.calibrate.path}' holds no text to calibrate on", "another text, or none")
    return batches


def _written(checkpoint: Checkpoint, recipe: Recipe, keep: Path | None, told: Callable[[str], None]) -> list[Tensor]:
    if not recipe.written:
        return []
    config = checkpoint.config
    parts = written_texts(
        Llama.from_checkpoint(checkpoint).eval(),
        config.bos_id,
        recipe.written,
        min(config.max_seq_len, _WRITTEN_LENGTH) - 1,
        keep,
        lambda done: told(f"letting the model write: {done:,} of {recipe.written:,} texts"),
    )
    return batches_of_samples(parts)


def _divisors(folded: FoldedModel, calibration: list[Tensor], told: Callable[[str], None]) -> list[Tensor]:
    return hidden_divisors(folded, calibration, lambda done: told(f"smoothing: {done} of {len(calibration)} batches"))


def _start(
    folded: FoldedModel, calibration: list[Tensor], recipe: Recipe, kept: Path, told: Callable[[str], None]
) -> tuple[FoldedModel, QuantModel]:
    """The smoothed model and what distillation begins with: made now, or kept from before it was interrupted.

    Divisors are kept, too, for their last digits depend on the machine.
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
    looked_up = only_looked_up(folded.matrices)

    def rounded(bits: Mapping[str, int]) -> QuantModel:
        matrices: dict[str, Matrix] = {}
        for name, values in folded.matrices.items():
            told(f"rounding {name} to {bits[name]} bits")
            if name in looked_up:  # no vector is multiplied with it, so that its rows stand for themselves
                matrices[name] = to_bits(values, bits[name])
            else:
                matrices[name] = round_with_curvature(values, curvature[name], bits[name])
        return assemble(folded, recipe.kv, matrices)

    if recipe.budget is None:
        return rounded({name: bits_of(recipe.scheme, name) for name in folded.matrices})
    models = {
        most: rounded({name: 8 if name in looked_up else most for name in folded.matrices}) for most in sorted(LEVELS)
    }

    def measured(variants: Mapping[Variant, IntMatrix]) -> Mapping[Variant, float]:
        return sensitivities(
            *FoldedLlama.exact(folded),
            models[8].integer_matrices(),
            variants,
            spread_over(calibration, _SENSITIVITY_BATCHES),
            lambda done: told(f"measuring what a matrix suffers: {done} of {len(variants)}"),
        )

    chosen = within(recipe.budget, models, measured)
    matrices = {name: models[bits].matrices()[name] for name, bits in chosen.items()}
    return assemble(folded, recipe.kv, matrices)
