"""Small Llama language models as C, specialised to one model and one target, with the same bits everywhere.

    import llgen

    model = llgen.load("stories260K", scheme="q8")
    built = llgen.build(model, "out", target="cortex_m4f")
    print(built.facts["flash_bytes"], built.facts["digest"])
    assert llgen.check(model, target="armv7").equal
    logits = llgen.Reference(model).feed([1, 403, 407])

This is the package `llgen`; `llgen.codegen`, `.trainer`, `.templates` and `.targets` are its four subpackages.
Each name is imported when it is first used: `import llgen` is quick and needs no PyTorch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llgen.codegen import __version__

if TYPE_CHECKING:
    from llgen.codegen.formats.hf.directory import load_checkpoint, save_checkpoint
    from llgen.codegen.library import build, check, load
    from llgen.codegen.model.checkpoint import Checkpoint
    from llgen.codegen.reference.forward import Reference
    from llgen.errors import LlgenError
    from llgen.targets.schema import load_target, target_names

__all__ = [
    "Checkpoint",
    "LlgenError",
    "Reference",
    "__version__",
    "build",
    "check",
    "load",
    "load_checkpoint",
    "load_target",
    "save_checkpoint",
    "target_names",
]

_HOMES = {
    "Checkpoint": "llgen.codegen.model.checkpoint",
    "LlgenError": "llgen.errors",
    "Reference": "llgen.codegen.reference.forward",
    "build": "llgen.codegen.library",
    "check": "llgen.codegen.library",
    "load": "llgen.codegen.library",
    "load_checkpoint": "llgen.codegen.formats.hf.directory",
    "load_target": "llgen.targets.schema",
    "save_checkpoint": "llgen.codegen.formats.hf.directory",
    "target_names": "llgen.targets.schema",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'llgen' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "codegen", "targets", "templates", "trainer"]
