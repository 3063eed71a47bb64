"""Whose an unfinished distillation is: it goes on with the model, the text and the settings it was begun with."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from llgen.codegen.errors import LlgenError
from llgen.codegen.fold import FoldedModel

_NAME = "key"
_PROCEDURE = "4"
"""Goes up when preparing or training changes, for what was begun in one way cannot go on in another."""


def claim(workspace: Path, folded: FoldedModel, given: Sequence[Tensor], settings: str) -> None:
    """Make the directory that of a model, the batches of a text, and settings.

    Raises LlgenError when it holds what others began.
    """
    path = workspace / _NAME
    key = _key(folded, given, settings)
    if path.exists() and path.read_text(encoding="ascii") != key and len(list(workspace.iterdir())) > 1:
        raise LlgenError(
            f"'{workspace}' holds an unfinished distillation of another model or text, or with other settings, "
            "or of a version of llgen that trains otherwise",
            "the command as it was, to go on with it; or delete the folder, or another -o",
        )
    workspace.mkdir(parents=True, exist_ok=True)
    path.write_text(key, encoding="ascii")


def _key(folded: FoldedModel, given: Sequence[Tensor], settings: str) -> str:
    """Changes when anything does that decides the result."""
    digest = hashlib.sha256((_PROCEDURE + settings).encode())
    for name, values in folded.matrices.items():
        digest.update(name.encode() + values.tobytes())
    for batch in given:
        digest.update(batch.numpy().tobytes())
    return digest.hexdigest()
