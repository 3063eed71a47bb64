"""Building: generate files, compile and measure them, and compare the program's digest with the reference."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from llgen.errors import LlgenError
from llgen.paths import Pathlike
from llgen.sole_writer import holds_passing, is_passing, sole_writer
from llgen.targets.schema import Target
from llgen.whole import clear_unfinished, file_sha256, private_place, put, replacing

from .. import __version__
from ..compile.known_machine import require_known_machine
from ..compile.measure import Measurement, measure, require_stack
from ..compile.toolchain import Artifact, cache_directory, compile_objects, first_use, link
from ..compile.wasm import module_memory
from ..model.checkpoint import Checkpoint
from ..plan.extras import PLAIN, Extras
from ..plan.fit import require_fit
from ..plan.sizes import round_up
from ..plan.stack import STEP_BYTES
from ..plan.tuning import Values
from ..quantise.quantize import QuantModel
from ..reference.forward import Trace, selftest
from ..render.pipeline import Generation, generate
from ..run.emulator import missing_emulator
from ..run.proof import positions_to_prove, prove
from .fingerprint import key_of
from .manifest import MANIFEST, current_manifest, holds_program, publish, read_manifest, require_own

DIGEST_POSITIONS = 64
"""Positions whose logits the digest of a build covers; fewer when the context is shorter."""

Progress = Callable[[str], None]
"""Called with a few words when a step begins."""


@dataclass(frozen=True)
class Build:
    """A generated folder with its compiled program."""

    directory: Path
    artifact: Artifact
    facts: dict[str, Any]
    """The content of the manifest: model, target, scheme, digest, sizes."""
    files: tuple[str, ...]
    """All generated files of the folder, the manifest included."""
    written: tuple[str, ...]
    """The generated files that changed, and the program."""
    not_proved: str | None = None
    """The reason why the program was not compared with the reference; None when it was, or need not be."""


def build(
    source: Checkpoint | QuantModel,
    target: Target,
    directory: Pathlike,
    *,
    prefix: str | None = None,
    prefill: int | None = None,
    extras: Extras = PLAIN,
    tuning: Values | None = None,
    digest_positions: int = DIGEST_POSITIONS,
    proves: bool = True,
    progress: Progress = lambda what: None,
) -> Build:
    """Generate, compile, measure, prove, write; `directory` must be new, empty, or of an earlier build.

    `prefill` is the number of positions that are evaluated together; None chooses by the target. `extras` are parts of
    the program besides the model; `tuning` replaces the default sizes of blocks and tiles; `digest_positions` is the
    number of positions that the digest covers, at most the context. All files are made in a temporary folder and moved
    to the directory at the end. Before that, unless `proves` is false, the program's self-test must agree with the
    reference, if the program can run here.

    Raises LlgenError when a stage fails, the target's memory is too small, or the program computes something else. The
    directory is then unchanged.
    """
    directory = Path(directory)
    require_known_machine(target)
    progress("generating C")
    how = partial(generate, source, target, prefix=prefix, prefill=prefill, extras=extras, tuning=tuning)
    generation = how()
    require_fit(generation.model, generation.kernels, generation.memory, target)
    progress("computing the expected digest")
    room = generation.model.context - extras.cached
    expected = expected_trace(generation.model, min(digest_positions, room), extras.tokens)
    facts = _facts(generation, target, expected, tuning)
    there = _current(generation, directory, facts, target, proves)
    if there is not None and not holds_passing(directory):
        return there
    with sole_writer(directory):
        there = _current(generation, directory, facts, target, proves)  # another llgen may have written it meanwhile
        if there is not None:
            clear_unfinished(directory)
            return there
        require_own(directory, generation.files, generation.words.build.artifact)
        with private_place(directory) as place:
            progress("compiling" + first_use(target))
            generation, artifact, sizes = _compiled(generation, how, target, place)
            facts |= sizes
            proof = None
            if proves:
                progress("proving it")
                positions = positions_to_prove(generation.model, target, len(expected.tokens))
                proof = prove(artifact, expected_trace(generation.model, positions, extras.tokens), extras.drafts)
            facts["proved_positions"] = 0 if proof is None else proof.positions
            written = publish(place, generation.files, directory, facts, artifact.path.name)
    final = Artifact(directory / artifact.path.name, target)
    return Build(directory, final, facts, _names(generation), tuple(written), None if proof is None else proof.obstacle)


def _compiled(
    generation: Generation, how: Callable[..., Generation], target: Target, place: Path
) -> tuple[Generation, Artifact, dict[str, Any]]:
    """Generate the files and their program in a temporary folder, and measure them.

    The header states the stack. When this compiler needs more stack than stated, the files are generated again.
    """
    put(generation.files, place)
    with tempfile.TemporaryDirectory(dir=place) as temporary:
        objects = compile_objects(place, generation.sources, target, Path(temporary))
        measurement = measure(objects[: len(generation.model_sources)])
        if measurement and measurement.stack and measurement.stack > generation.stack_bytes:
            generation = how(stack_bytes=round_up(measurement.stack, STEP_BYTES))
            put(generation.files, place)
            objects = compile_objects(place, generation.sources, target, Path(temporary))
        require_stack(measure(objects), target)
        artifact = link(objects, target, place / generation.words.build.artifact)
    ram = module_memory(artifact.path) or generation.memory.ram_bytes
    facts = measured(generation, measurement) | {"ram_bytes": ram, "artifact_sha256": file_sha256(artifact.path)}
    return generation, artifact, facts


def _current(
    generation: Generation, directory: Path, facts: dict[str, Any], target: Target, proves: bool
) -> Build | None:
    """The build in a folder, when it is the same build and was proved as far as this machine can; else None."""
    manifest = current_manifest(generation.files, directory, facts)
    if manifest is None:
        return None
    obstacle = missing_emulator(target) if proves and not manifest.get("proved_positions") else None
    if proves and not manifest.get("proved_positions") and obstacle is None:
        return None
    artifact = Artifact(directory / generation.words.build.artifact, target)
    return Build(directory, artifact, _facts_of(manifest), _names(generation), (), obstacle)


def _names(generation: Generation) -> tuple[str, ...]:
    return tuple(sorted([*generation.files, MANIFEST]))


def build_cached(
    model: QuantModel,
    target: Target,
    progress: Progress = lambda what: None,
    *,
    extras: Extras = PLAIN,
    tuning: Values | None = None,
    digest_positions: int = DIGEST_POSITIONS,
) -> Build:
    """As build, into the cache directory; builds only when an argument or llgen has changed since the last build."""
    sizes = [] if tuning is None else [tuning.model_dump_json()]
    key = build_key(model, target, model.name, str(digest_positions), extras.identity, *sizes)
    directory = cache_directory() / "builds" / f"{model.name}-{target.name}-{key[:16]}"
    found = _found(directory, target)
    if found is not None:
        if holds_passing(directory):
            with suppress(LlgenError), sole_writer(directory):  # a cache that can only be read serves as it is
                clear_unfinished(directory)
        return found
    with sole_writer(directory):
        found = _found(directory, target)  # another llgen may have made it meanwhile
        if found is not None:
            return found
        _clear(directory)  # what a kill has left there
        return build(
            model,
            target,
            directory,
            extras=extras,
            tuning=tuning,
            digest_positions=digest_positions,
            proves=False,  # by those who run it, as they need it
            progress=progress,
        )


def _clear(directory: Path) -> None:
    clear_unfinished(directory)
    for entry in directory.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)
        elif not is_passing(entry.name):
            entry.unlink()


def build_key(model: QuantModel, target: Target, *more: str) -> str:
    """A hash of everything that determines a program: the model's numbers, the target, llgen itself, and `more`."""
    return key_of(*_identity(model), *more, target.model_dump_json())


def _found(directory: Path, target: Target) -> Build | None:
    """A complete build in the cache; None when there is none."""
    try:
        manifest = read_manifest(directory)
    except LlgenError:
        return None
    if manifest is None or not holds_program(directory, manifest):
        return None
    artifact = Artifact(directory / manifest["artifact"], target)
    return Build(directory, artifact, _facts_of(manifest), (*manifest["files"], MANIFEST), ())


def _identity(model: QuantModel) -> tuple[str, ...]:
    """The data that determines every number of a model."""
    return model.sha256, model.scheme, model.kv, str(model.context)


def expected_trace(model: QuantModel, positions: int, prompt: Sequence[int] = ()) -> Trace:
    """The result of the reference's `selftest`, cached because it takes seconds for a larger model."""
    key = key_of(*_identity(model), str(positions), str(tuple(prompt)))
    path = cache_directory() / "digests" / f"{key}.json"
    try:
        kept = json.loads(path.read_text(encoding="ascii"))
        return Trace(tuple(kept["tokens"]), int(kept["digest"]))
    except (OSError, ValueError, KeyError, TypeError):
        pass  # absent, or written by something else: compute it
    trace = selftest(model, positions, prompt=prompt)
    with suppress(LlgenError), replacing(path, shared=True) as temporary:  # else it is computed anew
        temporary.write_text(json.dumps({"tokens": trace.tokens, "digest": trace.digest}), encoding="ascii")
    return trace


def _facts_of(manifest: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in manifest.items() if name not in ("files", "artifact")}


def _facts(generation: Generation, target: Target, expected: Trace, tuning: Values | None) -> dict[str, Any]:
    return {
        "llgen": __version__,
        "model": generation.model.name,
        "model_sha256": generation.model.sha256,
        "target": target.name,
        "scheme": generation.model.scheme,
        "kv": generation.model.kv,
        "context": generation.model.context,
        "isa": generation.kernels.name,
        "prefill": generation.memory.positions,
        "tuning": None if tuning is None else tuning.given(),
        "speculate": generation.memory.drafts,
        "prompt_tokens": generation.memory.prompt_tokens,
        "digest": expected.digest_hex,
        "digest_positions": len(expected.tokens),
        "state_bytes": generation.memory.ram_bytes,
        "rodata_bytes": dict(generation.memory.sections),
    }


def measured(generation: Generation, measurement: Measurement | None) -> dict[str, Any]:
    """Bytes of flash, code and stack; None for a value that was not measured.

    Raises LlgenError when the model holds writable globals.
    """
    if measurement is None:  # of Mach-O and COFF the plan's numbers stand alone
        return {"flash_bytes": generation.memory.rodata_bytes, "code_bytes": None, "stack_bytes": None}
    if measurement.writable:
        raise LlgenError(
            f"the compiled model holds {measurement.writable} bytes of writable globals; it must hold none"
        )
    return {
        "flash_bytes": measurement.flash,
        "code_bytes": measurement.code,
        "stack_bytes": measurement.stack,
    }
