"""Programs to measure: generated with given sizes; only sources that differ from earlier ones are compiled."""

from __future__ import annotations

import hashlib
from pathlib import Path

from llgen.targets.schema import Target

from ..build.folder import measured
from ..compile.measure import measure, require_stack
from ..compile.toolchain import Artifact, compile_objects, link
from ..plan.fit import require_fit
from ..plan.tuning import Values
from ..quantise.quantize import QuantModel
from ..render.files import weights_paths
from ..render.pipeline import Generation, generate

_PREFIX = "model"


class Trials:
    """Programs of one model for one target, in a folder that nothing else uses."""

    def __init__(self, model: QuantModel, target: Target, folder: Path) -> None:
        self._model = model
        self._target = target
        self._folder = folder
        self._programs: dict[Values, Artifact] = {}
        self._flash: dict[Values, int] = {}
        self._ram: dict[Values, int] = {}
        (folder / "objects").mkdir(parents=True, exist_ok=True)
        (folder / "source").mkdir(exist_ok=True)

    def program(self, values: Values) -> Artifact:
        """The program with these sizes.

        Raises LlgenError (does not fit) when they need more memory or stack than the target has.
        """
        if values not in self._programs:
            self._programs[values] = self._make(values)
        return self._programs[values]

    def sizes(self, values: Values) -> tuple[int, int]:
        """Bytes of flash and RAM of a program that was made."""
        return self._flash[values], self._ram[values]

    def discard(self, values: Values) -> None:
        """Remove a program; its object files stay."""
        artifact = self._programs.pop(values, None)
        if artifact is not None:
            artifact.path.unlink(missing_ok=True)

    def _make(self, values: Values) -> Artifact:
        generation = generate(self._model, self._target, prefix=_PREFIX, tuning=values)
        require_fit(generation.model, generation.kernels, generation.memory, self._target)
        source = self._folder / "source"
        for path, content in generation.files.items():
            (source / path).write_bytes(content)
        objects = self._objects(generation, source)
        require_stack(measure(objects), self._target)
        found = measured(generation, measure(objects[: len(generation.model_sources)]))
        self._flash[values], self._ram[values] = int(found["flash_bytes"]), generation.memory.ram_bytes
        name = f"trial-{len(self._flash)}{self._target.suffix}"
        return link(objects, self._target, source / name)

    def _objects(self, generation: Generation, source: Path) -> list[Path]:
        """The object file of each source; an object that was compiled before is used again."""
        folder = self._folder / "objects"
        places = {name: folder / f"{key}.o" for name, key in _keys(generation).items()}
        missing = [name for name, place in places.items() if not place.exists()]
        for name, made in zip(missing, compile_objects(source, missing, self._target, folder), strict=True):
            made.replace(places[name])
        return list(places.values())


def _keys(generation: Generation) -> dict[str, str]:
    """Source -> hash of all that its object depends on.

    Sources of weights are megabytes of data. Their objects depend on the headers only through the number of bytes, so
    that these hashes leave the headers out.
    """
    headers = [content for path, content in sorted(generation.files.items()) if path.endswith(".h")]
    weights = set(weights_paths(_PREFIX, generation.packed.tensors))
    keys = {}
    for name in generation.sources:
        digest = hashlib.sha256(name.encode() + b"\0" + generation.files[name])
        for header in [] if name in weights else headers:
            digest.update(header)
        keys[name] = digest.hexdigest()[:32]
    return keys
