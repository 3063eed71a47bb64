"""Writing a model directory: all of its files or none, and only over files that llgen wrote."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from llgen.errors import LlgenError
from llgen.shown import shown
from llgen.sole_writer import is_passing, require_no_file, sole_writer
from llgen.whole import Content, private_place, put, settle

from .companions import COMPANIONS, MARK
from .provenance import SOURCE
from .tokenizer_files import GENERATION_CONFIG, TOKENIZER
from .training_record import RECORD
from .weights import SINGLE, read_json

CONFIG, QUANTIZED = "config.json", "quantized.safetensors"

MODEL_FILES = frozenset({CONFIG, SINGLE, QUANTIZED, SOURCE, RECORD, *COMPANIONS})
"""Files of a model directory; the weights are float32 or quantised."""

_OLD_FILES = frozenset({CONFIG, SINGLE, TOKENIZER})
"""Files of model directories from versions of llgen that did not mark their files as llgen's."""


def write_model_directory(directory: Path, content: Mapping[str, Content]) -> None:
    """Write the files of a model directory, replacing an older one; all of them or none.

    While the files are replaced one by one, there is no `config.json`, so that no reader takes a mixture for a model.
    Raises LlgenError as `require_room` does.
    """
    own = MODEL_FILES | set(content)
    require_room(directory, own)
    with sole_writer(directory), private_place(directory) as place:
        put(content, place)
        require_room(directory, own)
        settle(place, directory, set(content), seal=CONFIG, stale=own - set(content))


def require_room(directory: Path, own: Collection[str] = MODEL_FILES) -> None:
    """Raise LlgenError when `directory` is a file, or holds files that llgen did not write.

    Files of another tool have the same names as `own`; a mark in one of them must say that llgen wrote them.
    """
    require_no_file(directory)
    if not directory.exists():
        return
    names = {entry.name for entry in directory.iterdir() if not is_passing(entry.name)}
    foreign = sorted(names - set(own)) or ([] if _is_llgens(directory, names) else sorted(names - _OLD_FILES))
    if foreign:
        raise LlgenError(
            f"'{directory}' holds '{shown(foreign[0])}', which is not llgen's to replace", "choose another -o"
        )


def _is_llgens(directory: Path, names: Collection[str]) -> bool:
    """Whether llgen was the last to write the model: transformers keeps llgen's mark, but adds its own version."""
    if {SOURCE, RECORD, QUANTIZED} & set(names):
        return True
    try:
        raw = read_json(directory / GENERATION_CONFIG)
    except LlgenError:
        return False
    return raw.get("written_by") == MARK and "transformers_version" not in raw


def require_other_place(source: Path, output: Path) -> None:
    """Raise LlgenError when a command would replace what it reads."""
    if source.resolve() == output.resolve():
        raise LlgenError(f"-o is '{source}' itself, which would be replaced", "choose another -o")
