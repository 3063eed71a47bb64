"""`import llgen` and `python -m llgen`: from a wheel, from an editable install, and what they bring."""

import json
import shutil
import subprocess
import sys
import tomllib
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from models import ODD, random_checkpoint, trained_vocabulary

from llgen.codegen.formats.detect import read_any, read_vocabulary
from llgen.codegen.formats.gguf.write import write_gguf
from llgen.codegen.formats.hf.directory import load_checkpoint, save_checkpoint
from llgen.codegen.formats.llama2c.tokenizer import write_tokenizer_bin
from llgen.codegen.formats.llama2c.write import write_llama2c
from llgen.codegen.model.sentence_piece import SentencePiece
from llgen.codegen.quantise.quantized import load_quantized, read_model, save_quantized
from llgen.codegen.render import pipeline
from llgen.targets.schema import load_target

ROOT = Path(__file__).parents[1]
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "trainer", "codegen", "templates", "targets")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A copy of what a package is made of, so that nothing is left in the repository."""
    folder = tmp_path_factory.mktemp("source")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, folder)
    return folder


def backend(source, call):
    """The wheel that setuptools makes, unpacked."""
    words = [sys.executable, "-c", f"import setuptools.build_meta as backend; print(backend.{call})"]
    made = subprocess.run(words, cwd=source, capture_output=True, text=True, check=True).stdout.split()[-1]
    folder = source / "installed" / made.removesuffix(".whl")
    with zipfile.ZipFile(source / "wheels" / made) as wheel:
        wheel.extractall(folder)
    return folder


_REPORT = """
import json, sys
import llgen, llgen.codegen, llgen.errors
print(json.dumps({
    "file": llgen.__file__, "codegen": llgen.codegen.__file__, "version": llgen.__version__,
    "same": llgen.LlgenError is llgen.errors.LlgenError,
    "slow": sorted({"torch", "numpy"} & set(sys.modules)),
}))
"""


def report(script, cwd):
    words = [sys.executable, "-I", "-S", "-c", script + _REPORT]
    return json.loads(subprocess.run(words, cwd=cwd, capture_output=True, text=True, check=True).stdout)


@pytest.fixture(scope="module")
def wheel(source):
    return backend(source, "build_wheel('wheels')")


def test_a_wheel_brings_llgen_itself_and_every_file_of_its_four_folders(source, wheel, tmp_path):
    told = report(f"import sys; sys.path.insert(0, {str(wheel)!r})", tmp_path)
    assert told["file"] == str(wheel / "llgen" / "__init__.py")
    assert (told["same"], told["slow"]) == (True, [])
    expected = {
        f"llgen/{path.relative_to(source)}"
        for folder in ("trainer", "codegen", "templates", "targets")
        for path in (source / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    expected = {path.replace("llgen/codegen/base/", "llgen/") for path in expected}
    found = {str(path.relative_to(wheel)) for path in (wheel / "llgen").rglob("*") if path.is_file()}
    assert {path for path in found if "__pycache__" not in path} == expected


def test_a_wheel_says_one_version_everywhere(wheel, tmp_path):
    told = report(f"import sys; sys.path.insert(0, {str(wheel)!r})", tmp_path)
    metadata = next(wheel.glob("*.dist-info/METADATA")).read_text()
    assert f"Version: {told['version']}\n" in metadata
    command = [sys.executable, "-m", "llgen", "--version"]
    done = subprocess.run(
        command, cwd=tmp_path, env={"PYTHONPATH": str(wheel)}, capture_output=True, text=True, check=True
    )
    assert done.stdout == f"llgen, version {told['version']}\n"
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts == {"llgen": "llgen.codegen.cli:main"}


def test_an_editable_install_brings_the_same_from_the_repository(source, tmp_path):
    folder = backend(source, "build_editable('wheels')")
    finder = next(folder.glob("__editable__*.py")).stem
    told = report(f"import sys; sys.path.insert(0, {str(folder)!r}); import {finder}; {finder}.install()", tmp_path)
    assert told["file"] == str(source / "codegen" / "base" / "__init__.py")
    assert told["codegen"] == str(source / "codegen" / "__init__.py")
    assert (told["same"], told["slow"]) == (True, [])


# --------------------------------------------------------------------------------------------------------------- API


@pytest.fixture(scope="module")
def package():
    """The package, where it is installed whole."""
    module = pytest.importorskip("llgen")
    assert module.__file__ is not None, "install llgen anew: `make install`"
    return module


@pytest.mark.quick
def test_a_program_loads_builds_and_proves_a_model(package, tmp_path):
    checkpoint = random_checkpoint()
    package.save_checkpoint(checkpoint, str(tmp_path / "odd"))
    model = package.load(str(tmp_path / "odd"), scheme="q8", context=20)
    assert (model.name, model.scheme, model.context) == ("odd", "q8", 20)
    built = package.build(model, str(tmp_path / "out"), name="Story-1")
    assert (tmp_path / "out" / "story_1.h").is_file()
    assert built.facts["scheme"] == "q8"
    verdict = package.check(model, positions=6)
    assert (verdict.equal, verdict.positions) == (True, 6)
    logits = package.Reference(model).feed([1, 2, 3])
    assert logits.shape == (3, checkpoint.config.vocab_size)
    assert np.isfinite(logits).all()


@pytest.mark.slow
def test_every_path_is_a_text_or_a_path(package, tmp_path):
    package.save_checkpoint(random_checkpoint(), tmp_path / "odd")
    for directory in (tmp_path / "odd", str(tmp_path / "odd")):
        assert package.load_checkpoint(directory).name == package.load(directory).name == "odd"
    text = (ROOT / "targets" / "generic.toml").read_text()
    (tmp_path / "mine.toml").write_text(text)
    for path in (tmp_path / "mine.toml", str(tmp_path / "mine.toml")):
        assert package.load_target(path).name == "mine"
    built = package.build(tmp_path / "odd", tmp_path / "out", target=tmp_path / "mine.toml")
    assert built.facts["target"] == "mine"


def test_what_the_package_names_is_there(package):
    assert set(package.__all__) <= set(dir(package))
    for name in package.__all__:
        assert getattr(package, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        package.nothing  # noqa: B018


def test_every_function_that_reads_or_writes_takes_a_text(tmp_path):
    vocabulary = trained_vocabulary()
    checkpoint = random_checkpoint(
        replace(ODD, vocab_size=len(vocabulary), tied=True, rope_theta=10000.0, norm_eps=1e-5), vocabulary=vocabulary
    )
    quantized = pipeline.quantized(checkpoint, "q8")

    def at(name):
        return str(tmp_path / name)

    save_quantized(quantized, at("eight"))
    assert load_quantized(at("eight")).sha256 == read_model(at("eight")).sha256 == quantized.sha256
    save_checkpoint(checkpoint, at("hugging"))
    write_gguf(checkpoint, at("odd.gguf"), "f32")
    write_llama2c(checkpoint, at("odd.bin"), 0)
    write_tokenizer_bin(vocabulary, at("tokenizer.bin"))
    assert len(read_vocabulary(at("tokenizer.bin"))) == len(vocabulary)
    assert len(SentencePiece.from_file(at("hugging/tokenizer.model"))) == len(vocabulary)
    for name in ("hugging", "odd.gguf", "odd.bin"):
        assert read_any(at(name), at("hugging/tokenizer.model")).config.dim == ODD.dim


# -------------------------------------------------------------------------------------------------------------- names


def run_with_a_model(folder):
    """What `llgen train -o folder` leaves, as far as names are concerned."""
    folder.mkdir()
    (folder / "metrics.jsonl").touch()
    save_checkpoint(random_checkpoint(), folder / "model")
    return folder / "model"


def test_a_trained_model_is_called_after_its_run(tmp_path):
    assert load_checkpoint(run_with_a_model(tmp_path / "fables")).name == "fables"
    model = run_with_a_model(tmp_path / "nights")
    save_quantized(pipeline.quantized(load_checkpoint(model), "q8"), tmp_path / "q8")
    assert read_model(tmp_path / "q8").name == "q8"


def test_a_model_stays_model_where_the_folder_above_gives_no_name(tmp_path):
    assert load_checkpoint(run_with_a_model(tmp_path / "7th try")).name == "model"
    save_checkpoint(random_checkpoint(), tmp_path / "elsewhere" / "model")
    assert load_checkpoint(tmp_path / "elsewhere" / "model").name == "model"


def test_c_of_a_trained_model_has_the_prefix_of_its_run(tmp_path):
    model = read_model(run_with_a_model(tmp_path / "fables"))
    assert "fables.h" in pipeline.generate(model, load_target("generic")).files
