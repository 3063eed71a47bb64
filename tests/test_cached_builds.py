"""Builds in the cache: many programs may want one at once, and a kill may leave one half done."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from models import random_checkpoint

from llgen.codegen import build as building
from llgen.codegen.build import DIGEST_POSITIONS, build_cached
from llgen.codegen.pipeline import quantized
from llgen.codegen.runner import run_selftest
from llgen.codegen.toolchain import zig_environment
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
    said: list[str] = []
    with ThreadPoolExecutor(1) as pool, building.locked(first.directory, lambda what: None):
        waiting = pool.submit(building.build_cached, MODEL, TARGET, said.append)
        while not said:
            assert not waiting.done()
    assert waiting.result().directory == first.directory
    assert said[0] == "waiting for another llgen, which builds the same"


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
