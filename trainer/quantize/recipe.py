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

from ..data import Source
from ..files import replacing
from ..model import Llama
from .allocate import Budget, sensitivities, within
from .calibration import batches_of_samples, batches_of_text, spread_over
from .course import TEACHER_WEIGHT, Course
from .distill import Interrupted, Lesson, distill
from .folded import FoldedLlama
from .gptq import Curvature, round_with_curvature
from .writing import written_texts

_WRITTEN_LENGTH = 256
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
    """The text; GPTQ goes by it alone, if there is one."""
    documents: int
    """Of that text, at most."""
    written: int
    """Texts that the model writes itself."""
    budget: Budget | None
    """Decides which matrices have 8 bits and which 4; None: the scheme does."""
    course: Course | None
    """Of distillation; None leaves it out."""
    teacher_weight: float = TEACHER_WEIGHT
    """What the float32 model's opinion of the text counts. Of what it wrote itself there is no other."""


@dataclass(frozen=True)
class _Texts:
    """Batches of tokens [B, T]."""

    given: list[Tensor]
    written: list[Tensor]

    @property
    def usual(self) -> list[Tensor]:
        """What the model is measured on: what was given, rather than what it makes of that."""
        return self.given or self.written


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

    folded = fold(lower(checkpoint))
    given = _given(folded, recipe, tell)
    if recipe.course is None:
        return _calibrated(folded, given or _written(checkpoint, recipe, None, tell), recipe, tell)
    _claim(workspace, _key(folded, given, recipe))
    texts = _Texts(given, _written(checkpoint, recipe, workspace / "written", tell))
    start = _start(folded, texts.usual, recipe, workspace / "start", tell)
    lessons, held_out = _lessons(texts, recipe.teacher_weight)
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


def held_out_batches(batches: int) -> int:
    """How many of the batches are held out: an eighth, but one at least, where there is more than one."""
    return max(batches // 8, min(batches - 1, 1))


def _claim(workspace: Path, key: str) -> None:
    """Make the workspace that of `key`; raises LlgenError when it holds what another one began."""
    path = workspace / "key"
    if path.exists() and path.read_text(encoding="ascii") != key and len(list(workspace.iterdir())) > 1:
        raise LlgenError(
            f"'{workspace}' holds an unfinished distillation of another model or text, or with other settings",
            "the command as it was, to go on with it; or delete the folder, or another -o",
        )
    workspace.mkdir(parents=True, exist_ok=True)
    path.write_text(key, encoding="ascii")


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


def _start(
    folded: FoldedModel, batches: list[Tensor], recipe: Recipe, kept: Path, told: Callable[[str], None]
) -> QuantModel:
    """What distillation begins with: made now, or kept from before it was interrupted."""
    if kept.exists():
        return load_quantized(kept)
    start = _calibrated(folded, batches, recipe, told)
    with replacing(kept) as unnamed:
        save_quantized(start, unnamed)
    return start


def _lessons(texts: _Texts, teacher_weight: float) -> tuple[list[Lesson], list[Lesson]]:
    """What is learned from, and what is held out of the usual text."""
    held_out = spread_over(texts.usual, min(_MOST_HELD_OUT, held_out_batches(len(texts.usual))))
    taken = {id(batch) for batch in held_out}
    lessons = [
        (id(batch) in taken, Lesson(batch, weight))
        for batches, weight in ((texts.given, teacher_weight), (texts.written, 1.0))
        for batch in batches
    ]
    return [lesson for held, lesson in lessons if not held], [lesson for held, lesson in lessons if held]


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


def _key(folded: FoldedModel, given: list[Tensor], recipe: Recipe) -> str:
    """Changes when anything does that decides the result."""
    settings = replace(recipe, calibrate=None)  # what it says counts, not where it lies
    digest = hashlib.sha256(repr(settings).encode())
    for name, values in folded.matrices.items():
        digest.update(name.encode() + values.tobytes())
    for batch in given:
        digest.update(batch.numpy().tobytes())
    return digest.hexdigest()
