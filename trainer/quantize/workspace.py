"""The owner of an unfinished distillation: only the same model, text and settings may continue it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from llgen.codegen.quantise.fold import FoldedModel
from llgen.errors import LlgenError
from llgen.whole import replacing

_NAME = "key"
_PROCEDURE = "4"
"""Increased when preparation or training changes: a distillation cannot be continued by a changed procedure."""


def claim(workspace: Path, folded: FoldedModel, given: Sequence[Tensor], settings: str) -> None:
    """Mark the directory as belonging to a model, the batches of a text, and settings.

    Raises LlgenError when it holds the unfinished distillation of others.
    """
    path = workspace / _NAME
    key = _key(folded, given, settings)
    if path.exists() and path.read_text(encoding="ascii") != key and len(list(workspace.iterdir())) > 1:
        raise LlgenError(
            f"'{workspace}' holds an unfinished distillation of another model or text, or with other settings, "
            "or of another version of llgen",
            "repeat the earlier command to continue it, delete the folder, or choose another -o",
        )
    workspace.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_text(key, encoding="ascii")


def _key(folded: FoldedModel, given: Sequence[Tensor], settings: str) -> str:
    """A digest of everything that the result depends on."""
    digest = hashlib.sha256((_PROCEDURE + settings).encode())
    for name, values in folded.matrices.items():
        digest.update(name.encode() + values.tobytes())
    for batch in given:
        digest.update(batch.numpy().tobytes())
    return digest.hexdigest()
