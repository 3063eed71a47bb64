"""Building: generated files on disk, compiled, measured, with the digest that the program must print."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from llgen.targets.schema import Target

from . import __version__, literals
from .checkpoint import Checkpoint
from .errors import ExitCode, LlgenError
from .extras import PLAIN, Extras
from .fit import require_fit
from .measure import Measurement, measure
from .pipeline import Generation, generate
from .quantize import QuantModel
from .reference import Trace, selftest
from .sizes import promised_stack
from .toolchain import Artifact, cache_directory, compile_objects, first_use, link
from .tuning import Values
from .write import MANIFEST, current_manifest, file_sha256, holds_program, read_manifest, write

DIGEST_POSITIONS = 64
"""Positions whose logits the digest of a build covers, where the context has as many."""

Progress = Callable[[str], None]
"""Told what begins now, in a few words."""


@dataclass(frozen=True)
class Build:
    """A generated folder whose program has been compiled."""

    directory: Path
    artifact: Artifact
    facts: dict[str, Any]
    """What the manifest says: model, target, scheme, digest, sizes."""
    files: tuple[str, ...]
    """All files of the folder that llgen generated, the manifest included."""
    written: tuple[str, ...]
    """Those of them that changed."""


def build(
    source: Checkpoint | QuantModel,
    target: Target,
    directory: Path,
    *,
    prefix: str | None = None,
    prefill: int | None = None,
    extras: Extras = PLAIN,
    tuning: Values | None = None,
    digest_positions: int = DIGEST_POSITIONS,
    progress: Progress = lambda what: None,
) -> Build:
    """Generate, write, compile, measure; `directory` must be new, empty, or of an earlier build.

    `prefill` is how many positions are evaluated together, None what suits the target; `extras` is what the program has
    beside the model; `tuning` other sizes than the usual ones; `digest_positions` how many positions the digest covers,
    where the context has as many.

    Raises LlgenError when a stage fails, the target's memory is too small, or the stack exceeds what the header
    promises.
    """
    progress("generating C")
    generation = generate(source, target, prefix=prefix, prefill=prefill, extras=extras, tuning=tuning)
    require_fit(generation.model, generation.kernels, generation.memory, target)
    progress("computing the expected digest")
    room = generation.model.context - extras.cached
    expected = expected_trace(generation.model, min(digest_positions, room), extras.tokens)
    artifact_name = generation.context.artifact
    facts = _facts(generation, target, expected, tuning)
    files_and_manifest = tuple(sorted([*generation.files, MANIFEST]))
    manifest = current_manifest(generation.files, directory, facts)
    if manifest is not None:
        artifact = Artifact(directory / artifact_name, target)
        return Build(directory, artifact, _facts_of(manifest), files_and_manifest, ())
    written = write(generation.files, directory, facts, artifact_name)
    progress("compiling" + first_use(target))
    with tempfile.TemporaryDirectory() as temporary:
        objects = compile_objects(directory, generation.sources, target, Path(temporary))
        measurement = measure(objects[: len(generation.model_sources)])
        artifact = link(objects, target, directory / artifact_name)
    facts |= measured(generation, measurement) | {"artifact_sha256": file_sha256(artifact.path)}
    written += write(generation.files, directory, facts, artifact_name)
    return Build(directory, artifact, facts, files_and_manifest, tuple(sorted(set(written))))


def build_cached(
    model: QuantModel,
    target: Target,
    progress: Progress = lambda what: None,
    *,
    extras: Extras = PLAIN,
    tuning: Values | None = None,
    digest_positions: int = DIGEST_POSITIONS,
) -> Build:
    """As build, into the cache directory, and only when no argument and no part of llgen has changed since."""
    sizes = [] if tuning is None else [tuning.model_dump_json()]
    key = build_key(model, target, model.name, str(digest_positions), extras.identity, *sizes)
    directory = cache_directory() / "builds" / f"{model.name}-{target.name}-{key[:16]}"
    found = _found(directory, target)
    if found is not None:
        return found
    with locked(directory, progress):
        found = _found(directory, target)  # another llgen may have made it meanwhile
        if found is not None:
            return found
        shutil.rmtree(directory, ignore_errors=True)  # what a kill has left there
        return build(
            model,
            target,
            directory,
            prefix=_safe_prefix(model.name),
            extras=extras,
            tuning=tuning,
            digest_positions=digest_positions,
            progress=progress,
        )


def build_key(model: QuantModel, target: Target, *more: str) -> str:
    """A hash of all that decides a program: the model's numbers, the target, llgen itself, and `more`."""
    return _key(*_identity(model), *more, target.model_dump_json())


def _found(directory: Path, target: Target) -> Build | None:
    """A complete build of the cache; None when there is none."""
    try:
        manifest = read_manifest(directory)
    except LlgenError:
        return None
    if manifest is None or not holds_program(directory, manifest):
        return None
    artifact = Artifact(directory / manifest["artifact"], target)
    return Build(directory, artifact, _facts_of(manifest), (*manifest["files"], MANIFEST), ())


@contextmanager
def locked(directory: Path, progress: Progress) -> Iterator[None]:
    """Be the only llgen that writes a folder of the cache; the system takes the lock from a process that dies."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(directory.with_name(f"{directory.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        progress("waiting for another llgen, which builds the same")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _identity(model: QuantModel) -> tuple[str, ...]:
    """What decides a model's every number."""
    return model.sha256, model.scheme, model.kv, str(model.context)


def _safe_prefix(name: str) -> str:
    """The model's name as a prefix, where it gives one; nobody sees the C of a cached build."""
    try:
        return literals.prefix(name)
    except LlgenError:
        return "model"


def expected_trace(model: QuantModel, positions: int, prompt: Sequence[int] = ()) -> Trace:
    """The reference's `selftest`; kept in the cache, for it takes seconds on a larger model."""
    key = _key(*_identity(model), str(positions), str(tuple(prompt)))
    path = cache_directory() / "digests" / f"{key}.json"
    try:
        kept = json.loads(path.read_text(encoding="ascii"))
        return Trace(tuple(kept["tokens"]), int(kept["digest"]))
    except (OSError, ValueError, KeyError, TypeError):
        pass  # absent, or written by something else: compute it
    trace = selftest(model, positions, prompt=prompt)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="ascii") as stream:
        json.dump({"tokens": trace.tokens, "digest": trace.digest}, stream)
    Path(stream.name).replace(path)
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
        "isa": generation.kernels.isa,
        "prefill": generation.memory.positions,
        "tuning": None if tuning is None else tuning.given(),
        "speculate": generation.memory.drafts,
        "prompt_tokens": generation.memory.prompt_tokens,
        "digest": expected.digest_hex,
        "digest_positions": len(expected.tokens),
        "ram_bytes": generation.memory.ram_bytes,
        "rodata_bytes": dict(generation.memory.sections),
    }


def measured(generation: Generation, measurement: Measurement | None) -> dict[str, Any]:
    """Bytes of flash, code and stack; what was not measured is None.

    Raises LlgenError when the model holds writable globals, or needs more stack than its header promises.
    """
    if measurement is None:  # no ELF: the plan's numbers stand alone
        return {"flash_bytes": generation.memory.rodata_bytes, "code_bytes": None, "stack_bytes": None}
    if measurement.writable:
        raise LlgenError(
            f"the compiled model holds {measurement.writable} bytes of writable globals; it must hold none"
        )
    promise = promised_stack(generation.model, generation.kernels)
    if measurement.stack > promise:
        raise LlgenError(
            f"the compiled model needs {measurement.stack} bytes of stack; its header promises {promise}",
            exit_code=ExitCode.DOES_NOT_FIT,
        )
    return {
        "flash_bytes": measurement.flash,
        "code_bytes": measurement.code,
        "stack_bytes": measurement.stack,
    }


def _key(*parts: str) -> str:
    """A hash of the inputs and of llgen itself: its code, templates and targets."""
    digest = hashlib.sha256(_fingerprint().encode())
    for part in parts:
        digest.update(part.encode() + b"\0")
    return digest.hexdigest()


@cache
def _fingerprint() -> str:
    digest = hashlib.sha256(__version__.encode())
    for package in ("llgen.codegen", "llgen.templates", "llgen.targets"):
        for entry in _walk(files(package)):
            digest.update(entry.name.encode() + b"\0" + entry.read_bytes())
    return digest.hexdigest()


def _walk(folder: Traversable) -> list[Traversable]:
    found: list[Traversable] = []
    for entry in sorted(folder.iterdir(), key=lambda item: item.name):
        if entry.is_dir():
            found += _walk(entry) if entry.name != "__pycache__" else []
        elif not entry.name.endswith(".pyc"):
            found.append(entry)
    return found
