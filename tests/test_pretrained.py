"""The model that comes with llgen: small enough, whole, and enough for the demo without PyTorch."""

from importlib.resources import files

import pytest
from commands import WITHOUT_TORCH, invoke, shell

from llgen.codegen.cli.demo import command
from llgen.codegen.formats.hf.directory import load_checkpoint
from llgen.codegen.quantise.quantize import quantized
from llgen.codegen.reference.forward import Reference
from llgen.errors import LlgenError

FOLDER = files("llgen.codegen") / "pretrained"


def test_it_takes_little_room():
    assert sum(len(entry.read_bytes()) for entry in FOLDER.iterdir()) <= 1_100_000


def test_it_knows_how_a_story_goes_on():
    checkpoint = load_checkpoint(FOLDER)
    vocabulary = checkpoint.vocabulary
    ids = [
        checkpoint.config.bos_id,
        *vocabulary.encode("Once upon a time, there was a little girl named Lily. One day,"),
    ]
    logits = Reference(quantized(checkpoint)).feed(ids)[-1]
    likely = {vocabulary.pieces[int(token)].text for token in logits.argsort()[-2:]}
    assert "▁Lily" in likely  # the name is taken up again


def test_the_demo_needs_neither_training_nor_torch(tmp_path):
    done = shell("demo", "--pretrained", "-o", tmp_path / "demo", command=WITHOUT_TORCH)
    assert done.returncode == 0
    assert done.stdout.startswith("Once upon a time")
    assert "equal" in done.stderr
    assert (tmp_path / "demo" / "model" / "model.safetensors").exists()


def test_the_demo_says_so_where_torch_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr("llgen.codegen.cli.demo.find_spec", lambda name: None)
    with pytest.raises(LlgenError, match="which needs PyTorch") as caught:
        invoke(command, "-o", tmp_path / "demo")
    assert "--pretrained" in caught.value.hint
