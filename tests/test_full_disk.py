"""Where there is no room left: one line with the limit and a next step, and nothing half written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from limits import largest_file
from models import random_checkpoint

from llgen.codegen.build import folder as building
from llgen.codegen.build.folder import build
from llgen.codegen.compile import toolchain
from llgen.codegen.formats.hf.directory import load_checkpoint, save_checkpoint
from llgen.codegen.quantise.quantize import quantized
from llgen.errors import LlgenError
from llgen.targets.schema import load_target

MODEL = quantized(random_checkpoint(), "q8")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("size", [0, 5_000], ids=["at the first file", "at a later one"])
def test_a_model_directory_is_the_old_one_or_the_new_one(tmp_path: Path, size: int) -> None:
    save_checkpoint(random_checkpoint(), tmp_path / "out")
    before = contents(tmp_path / "out")
    for folder in ("out", "new"):
        with largest_file(size), pytest.raises(LlgenError, match=f"a file may have {size:,} bytes at most here"):
            save_checkpoint(random_checkpoint(seed=2), tmp_path / folder)
    assert contents(tmp_path / "out") == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert load_checkpoint(tmp_path / "out").sha256 == random_checkpoint().sha256


@pytest.mark.parametrize("stage", ["put", "compile_objects", "link", "publish"])
def test_a_build_leaves_the_folder_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str) -> None:
    target = load_target("host")
    build(MODEL, target, tmp_path / "out")
    before = contents(tmp_path / "out")
    at_work = getattr(building, stage)

    def without_room(*arguments: Any) -> Any:
        with largest_file(100):
            return at_work(*arguments)

    with monkeypatch.context() as patch, pytest.raises(LlgenError) as caught:
        patch.setattr(building, stage, without_room)
        build(MODEL, target, tmp_path / "out", prefill=3)
    said = "the compiler had no room for what it writes: " if stage in ("compile_objects", "link") else "cannot write '"
    assert caught.value.message.startswith(said)
    assert "\n" not in caught.value.message
    assert caught.value.hint
    assert contents(tmp_path / "out") == before
    assert build(MODEL, target, tmp_path / "out").written == ()


@pytest.mark.parametrize(
    "words",
    [
        "fatal error: error in backend: IO failure on output stream: No space left on device",
        "error: unable to create output: NoSpaceLeft",
    ],
)
def test_the_words_of_compilers_about_a_full_disk_are_understood(tmp_path: Path, words: str) -> None:
    program = tmp_path / "cc"
    program.write_text(f"#!/bin/sh\necho '{words}' >&2\nexit 1\n", encoding="ascii")
    program.chmod(0o755)
    with pytest.raises(LlgenError, match=r"had no room for what it writes: [\d,]+ of [\d,]+ bytes are free where"):
        toolchain.run_tool([str(program)], tmp_path)
