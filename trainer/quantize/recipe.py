"""From a float32 model to integers, by calibration and training: the steps in their order, and what they keep."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event

from torch import Tensor

from llgen.codegen.checkpoint import Checkpoint
from llgen.codegen.errors import LlgenError
from llgen.codegen.matrix import IntMatrix, Matrix, to_bits
from llgen.codegen.quantize import FoldedModel, QuantModel, assemble, bits_of, fold, only_looked_up
from llgen.codegen.quantized import load_quantized, save_quantized
from llgen.codegen.spec import lower

from ..checkpoint import read_checkpoint, write_checkpoint
from ..data import Source
from ..model import Llama
from .allocate import Budget, sensitivities, within
from .calibration import batches_of_samples, batches_of_text, spread_over
from .course import Course
from .distill import Interrupted, distill
from .folded import FoldedLlama
from .gptq import Curvature, round_with_curvature

_SAMPLE_LENGTH = 256
_CALIBRATION_BATCHES = 32
"""For GPTQ, which gains nothing from more; of 16 documents each."""
_SENSITIVITY_BATCHES = 8
_MOST_HELD_OUT = 8


@dataclass(frozen=True)
class Recipe:
    """How a model is to become integers."""

    scheme: str
    kv: str | None
    calibrate: Source | None
    """The text; None has the model write its own."""
    documents: int
    budget: Budget | None
    """Decides which matrices have 8 bits and which 4; None: the scheme does."""
    course: Course | None
    """Of distillation; None leaves it out. A text that the model wrote itself teaches nothing that it would not say,
    so then all of the loss is the divergence."""


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
            raise Interrupted(0)
        told(what)

    folded = fold(lower(checkpoint))
    if recipe.course is None:
        return _calibrated(folded, _batches(checkpoint, folded, recipe, tell), recipe, tell)
    batches, start = _start(checkpoint, folded, recipe, workspace, tell)
    held_out = spread_over(batches, min(_MOST_HELD_OUT, held_out_batches(len(batches))))
    taken = {id(batch) for batch in held_out}
    learned = [batch for batch in batches if id(batch) not in taken]
    course = recipe.course if recipe.calibrate is not None else replace(recipe.course, teacher_weight=1.0)
    return distill(
        folded,
        start,
        learned,
        course,
        held_out=held_out,
        keep=workspace / "state.pt",
        stop=stop,
        told=lambda done, loss: told(f"distilling: {done:,} of {course.iterations:,} iterations, {loss:.4f} nats"),
    )


def held_out_batches(batches: int) -> int:
    """How many of the batches are held out: an eighth, but one at least, where there is more than one."""
    return max(batches // 8, min(batches - 1, 1))


def _start(
    checkpoint: Checkpoint, folded: FoldedModel, recipe: Recipe, workspace: Path, told: Callable[[str], None]
) -> tuple[list[Tensor], QuantModel]:
    """The text, and what distillation begins with: made now, or kept from before it was interrupted."""
    written, kept, samples = workspace / "key", workspace / "start", workspace / "samples.pt"
    if recipe.calibrate is None and samples.exists():  # what a model writes may depend on the number of threads
        batches: list[Tensor] = read_checkpoint(samples)["batches"]
    else:
        batches = _batches(checkpoint, folded, recipe, told)
    key = _key(folded, batches, recipe)
    if written.exists():
        if written.read_text(encoding="ascii") == key:
            return batches, load_quantized(kept)
        raise LlgenError(
            f"'{workspace}' holds an unfinished distillation of another model or text, or with other settings",
            "the command as it was, to go on with it; or delete the folder, or another -o",
        )
    start = _calibrated(folded, batches, recipe, told)
    save_quantized(start, kept)
    if recipe.calibrate is None:
        write_checkpoint({"batches": batches}, samples)
    written.write_text(key, encoding="ascii")
    return batches, start


def _batches(checkpoint: Checkpoint, folded: FoldedModel, recipe: Recipe, told: Callable[[str], None]) -> list[Tensor]:
    spec = folded.spec
    if recipe.calibrate is None:
        return batches_of_samples(
            Llama.from_checkpoint(checkpoint).eval(),
            spec.config.bos_id,
            recipe.documents,
            min(spec.context, _SAMPLE_LENGTH) - 1,
            told=lambda done: told(f"letting the model write: {done:,} of {recipe.documents:,} texts"),
        )
    if spec.vocabulary is None:
        raise LlgenError(f"'{spec.name}' has no tokenizer, so it cannot read a text", "leave --calibrate out")
    told("reading the text")
    batches = batches_of_text(recipe.calibrate.documents(), spec.vocabulary, spec.context, recipe.documents)
    if not batches:
        raise LlgenError(f"'{recipe.calibrate.path}' holds no text to calibrate on", "another text, or none")
    return batches


def _calibrated(folded: FoldedModel, batches: list[Tensor], recipe: Recipe, told: Callable[[str], None]) -> QuantModel:
    told("calibrating")
    calibration = spread_over(batches, _CALIBRATION_BATCHES)
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
        return assemble(folded, recipe.scheme, recipe.kv, matrices)

    if recipe.budget is None:
        return rounded({name: bits_of(recipe.scheme, name) for name in folded.matrices})
    eights = rounded(dict.fromkeys(folded.matrices, 8))
    fours = rounded({name: 8 if name in looked_up else 4 for name in folded.matrices})

    def measured(candidates: Mapping[str, IntMatrix]) -> Mapping[str, float]:
        return sensitivities(
            *FoldedLlama.exact(folded),
            eights.integer_matrices(),
            candidates,
            spread_over(calibration, _SENSITIVITY_BATCHES),
            lambda done: told(f"measuring what a matrix suffers: {done} of {len(candidates)}"),
        )

    chosen = within(recipe.budget, eights, fours, measured)
    matrices = {name: (fours if name in chosen else eights).matrices()[name] for name in folded.matrices}
    return assemble(folded, recipe.scheme, recipe.kv, matrices)


def _key(folded: FoldedModel, batches: list[Tensor], recipe: Recipe) -> str:
    """Changes when anything does that decides the result."""
    digest = hashlib.sha256(f"{recipe.scheme} {recipe.kv} {recipe.budget} {recipe.course}".encode())
    for name, values in folded.matrices.items():
        digest.update(name.encode() + values.tobytes())
    for batch in batches:
        digest.update(batch.numpy().tobytes())
    return digest.hexdigest()
