"""Builds that are there already: many programs may want one at once, and a kill may leave one half done."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from models import random_checkpoint

from llgen.codegen.build import folder as building
from llgen.codegen.build.folder import DIGEST_POSITIONS, Build, build, build_cached
from llgen.codegen.compile.toolchain import zig_environment
from llgen.codegen.quantise.quantize import quantized
from llgen.codegen.run.runner import run_selftest
from llgen.errors import LlgenError
from llgen.notices import gathered
from llgen.sole_writer import sole_writer
from llgen.targets.schema import load_target

MODEL = quantized(random_checkpoint(), "q8")
TARGET = load_target("x86_64")


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty cache of builds; what zig has compiled of its own stays where it is."""
    for name in ("ZIG_GLOBAL_CACHE_DIR", "ZIG_LOCAL_CACHE_DIR"):
        monkeypatch.setenv(name, zig_environment()[name])
    monkeypatch.setenv("LLGEN_CACHE_DIR", str(tmp_path))
    return tmp_path


def test_builds_that_race_wait_for_the_first(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[str] = []

    def compile_objects(*arguments: Any) -> list[Path]:
        compiled.append(str(arguments[0]))
        return compile_really(*arguments)

    compile_really = building.compile_objects
    monkeypatch.setattr(building, "compile_objects", compile_objects)
    with ThreadPoolExecutor(4) as pool:
        builds = list(pool.map(lambda _: build_cached(MODEL, TARGET), range(4)))
    assert len(compiled) == 1
    assert {build.facts["digest"] for build in builds} == {builds[0].facts["digest"]}
    assert run_selftest(builds[3].artifact, DIGEST_POSITIONS).digest_hex == builds[0].facts["digest"]


def test_who_waits_is_told_so(cache: Path) -> None:
    first = build_cached(MODEL, TARGET)
    (first.directory / "manifest.json").unlink()
    with gathered() as said, ThreadPoolExecutor(1) as pool:
        with sole_writer(first.directory):
            waiting = pool.submit(build_cached, MODEL, TARGET)
            while not said:
                assert not waiting.done()
        assert waiting.result().directory == first.directory
    assert said[0].startswith("waiting for ")
    assert said[0].endswith(f", which writes to '{first.directory}'")


@pytest.mark.parametrize("left", ["nothing", "a file half written", "a manifest half written"])
def test_what_a_kill_left_is_built_anew(cache: Path, left: str) -> None:
    directory = build_cached(MODEL, TARGET).directory
    if left == "nothing":
        for path in directory.iterdir():
            path.unlink()
    else:
        (directory / "manifest.json").unlink()
        (directory / (".odd.c-4f1a" if left == "a file half written" else "manifest.json")).write_text("{")
    assert build_cached(MODEL, TARGET).artifact.path.is_file()
    assert not (directory / ".odd.c-4f1a").exists()


def leave(directory: Path, name: str) -> None:
    """Put into a folder what an llgen leaves there that is killed while it writes."""
    if name.endswith(".lock"):
        (directory / name).write_text("`llgen build`, process 1\n")
    else:
        (directory / name).mkdir()
        (directory / name / "program").write_bytes(b"half")


def build_into(directory: Path) -> Build:
    return build(MODEL, TARGET, directory, proves=False)


@pytest.mark.parametrize("left", [".llgen.new-1a2b", ".llgen.lock"])
@pytest.mark.parametrize("where", ["a folder", "the cache"])
def test_what_a_kill_left_beside_a_whole_build_goes(cache: Path, where: str, left: str) -> None:
    def again() -> Build:
        return build_into(cache / "out") if where == "a folder" else build_cached(MODEL, TARGET)

    directory = again().directory
    whole = {entry.name: entry.stat().st_mtime_ns for entry in directory.iterdir()}
    leave(directory, left)
    assert again().written == ()
    assert {entry.name: entry.stat().st_mtime_ns for entry in directory.iterdir()} == whole


def test_a_folder_that_another_llgen_writes_is_looked_at_again(cache: Path) -> None:
    directory = build_into(cache / "out").directory
    with gathered() as said, ThreadPoolExecutor(1) as pool:
        with sole_writer(directory):
            waiting = pool.submit(build_into, directory)
            while not said:
                assert not waiting.done()
            (directory / "manifest.json").write_text('{"unfinished": true, "artifact": "odd", "files": {}}')
            for entry in directory.iterdir():
                if entry.name not in ("manifest.json", ".llgen.lock"):
                    entry.unlink()
        assert "manifest.json" in waiting.result().written


def test_a_cache_that_cannot_be_cleared_serves_all_the_same(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: Path) -> AbstractContextManager[None]:
        raise LlgenError(f"cannot write '{path}'")

    directory = build_cached(MODEL, TARGET).directory
    leave(directory, ".llgen.new-1a2b")
    monkeypatch.setattr(building, "sole_writer", refused)
    assert build_cached(MODEL, TARGET).artifact.path.is_file()


def test_a_digest_is_computed_where_no_cache_can_be_written(
    cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    expected = building.expected_trace(MODEL, 3)
    (tmp_path / "file").touch()
    monkeypatch.setenv("LLGEN_CACHE_DIR", str(tmp_path / "file" / "nope"))
    assert building.expected_trace(MODEL, 3) == expected
