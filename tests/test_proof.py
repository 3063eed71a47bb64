"""A build is proved before its manifest vouches for it, as far as its program can run here."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from commands import invoke
from models import random_checkpoint

from llgen.codegen.build import folder as building
from llgen.codegen.build.folder import build
from llgen.codegen.cli.main import group
from llgen.codegen.compile.toolchain import Artifact, link
from llgen.codegen.formats.hf.directory import save_checkpoint
from llgen.codegen.model.architectures import parameter_count
from llgen.codegen.quantise.quantize import quantized
from llgen.codegen.reference.forward import Trace
from llgen.codegen.run import proof
from llgen.codegen.run.proof import EMULATED_PRODUCTS, positions_to_prove
from llgen.errors import ExitCode, LlgenError
from llgen.notices import gathered
from llgen.sole_writer import sole_writer, sole_writer_of_file
from llgen.targets.schema import Target, load_target

MODEL = quantized(random_checkpoint(), "q8")
HOST = load_target("host")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_program_that_computes_something_else_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build(MODEL, HOST, tmp_path / "out")
    before = contents(tmp_path / "out")
    for folder in ("out", "new"):
        with monkeypatch.context() as patch, pytest.raises(LlgenError, match="'odd' computes 0000002a over") as caught:
            patch.setattr(proof, "run_selftest", lambda artifact, positions, drafts: Trace((1,) * positions, 42))
            build(MODEL, HOST, tmp_path / folder, prefill=3)
        assert caught.value.exit_code == ExitCode.PARITY_FAILED
    assert contents(tmp_path / "out") == before
    assert not (tmp_path / "new").exists()


def test_what_cannot_run_here_is_built_and_proved_as_soon_as_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        for module in (building, proof):
            patch.setattr(module, "missing_emulator", lambda target: "'qemu' is not installed")
        for _ in range(2):
            built = build(MODEL, HOST, tmp_path / "out")
            assert built.facts["proved_positions"] == 0
            assert built.not_proved == "'qemu' is not installed"
        assert built.written == ()
    built = build(MODEL, HOST, tmp_path / "out")
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["proved_positions"] == built.facts["digest_positions"]
    assert built.not_proved is None


def test_an_emulator_that_cannot_run_a_program_is_an_obstacle_and_this_machine_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ends(artifact: object, positions: int, drafts: int) -> Trace:
        raise LlgenError("'odd' ended with -4: it said nothing")

    monkeypatch.setattr(proof, "run_selftest", ends)
    with pytest.raises(LlgenError, match="ended with -4"):
        build(MODEL, HOST, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr(proof, "missing_emulator", lambda target: None)
    assert HOST.runner is not None
    emulated = HOST.model_copy(update={"runner": HOST.runner.model_copy(update={"argv": ("qemu", "{artifact}")})})
    assert build(MODEL, emulated, tmp_path / "out").not_proved == "'odd' ended with -4: it said nothing"


def test_a_place_that_programs_may_not_be_started_from_is_an_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link_without_permission(objects: Sequence[Path], target: Target, path: Path) -> Artifact:
        artifact = link(objects, target, path)
        path.chmod(0o644)  # as on a file system that is mounted noexec
        return artifact

    if sys.platform == "win32":
        pytest.skip("Windows starts every program")
    monkeypatch.setattr(building, "link", link_without_permission)
    built = build(MODEL, HOST, tmp_path / "out")
    assert built.not_proved == "it cannot be run where it lies: Permission denied"
    assert built.facts["proved_positions"] == 0
    assert built.artifact.path.is_file()


def test_an_emulator_is_not_given_more_work_than_takes_some_seconds() -> None:
    target = load_target("aarch64")
    large = replace(MODEL, config=replace(MODEL.config, dim=1 << 10, hidden_dim=1 << 12, n_layers=8, vocab_size=32_000))
    assert positions_to_prove(MODEL, target, 64) == 64
    assert positions_to_prove(large, target, 64) == EMULATED_PRODUCTS // parameter_count(large.config) > 0
    assert positions_to_prove(replace(large, config=replace(large.config, n_layers=999)), target, 64) == 1
    assert positions_to_prove(large, HOST, 64) == 64


@pytest.mark.parametrize(
    ("words", "output"),
    [
        (("build", "{model}"), "out"),
        (("import", "{model}"), "out"),
        (("export", "{model}", "--format", "huggingface"), "out"),
        (("export", "{model}", "--format", "gguf"), "out.gguf"),
        (("quantize", "{model}", "--scheme", "q8", "--method", "rtn"), "out"),
    ],
)
def test_every_command_that_writes_waits_for_the_one_that_does(
    tmp_path: Path, words: tuple[str, ...], output: str
) -> None:
    save_checkpoint(random_checkpoint(), tmp_path / "odd")
    path = tmp_path / output
    arguments = [word.format(model=tmp_path / "odd") for word in words]
    with ThreadPoolExecutor(1) as pool, gathered() as said:
        with (sole_writer_of_file if path.suffix else sole_writer)(path):
            waits = pool.submit(
                lambda: invoke(group, *arguments, "-o", path)
            )
            while not any(text.endswith(f", which writes to '{path}'") for text in said):
                assert not waits.done(), waits.result().output
            assert not path.is_file()
            assert not path.is_dir() or [entry.name for entry in path.iterdir()] == [".llgen.lock"]
        assert waits.result().exit_code == 0
    assert sorted(entry.name for entry in tmp_path.iterdir()) == sorted(["odd", output])
