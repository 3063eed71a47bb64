"""`llgen export`: what it writes, what it says, and that it leaves nothing behind when it fails."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from commands import WITHOUT_TORCH, Command, shell
from models import random_checkpoint, trained_vocabulary

from llgen.codegen.formats.detect import Form, detect
from llgen.codegen.formats.hf.directory import load_checkpoint, save_checkpoint
from llgen.codegen.formats.llama2c.tokenizer import read_tokenizer_bin
from llgen.codegen.model.checkpoint import Checkpoint
from llgen.codegen.model.config import ModelConfig

CONFIG = ModelConfig(
    dim=64, hidden_dim=172, n_layers=1, n_heads=4, n_kv_heads=2, head_dim=16, vocab_size=420, max_seq_len=16
)


@pytest.fixture
def checkpoint() -> Checkpoint:
    return random_checkpoint(CONFIG, vocabulary=trained_vocabulary(420))


@pytest.fixture
def model(checkpoint: Checkpoint, tmp_path: Path) -> Path:
    save_checkpoint(checkpoint, tmp_path / "in" / "fox")
    return tmp_path / "in" / "fox"


# arguments -> what `detect` calls the output, all files written, what stderr must say
WRITTEN = [
    (
        ["--format", "huggingface", "-o", "fox"],
        Form.HUGGING_FACE,
        ["fox"],
        ["tokenizer_config.json", 'next: transformers.AutoModelForCausalLM.from_pretrained("'],
    ),
    (
        ["--format", "gguf", "-o", "fox.gguf"],
        Form.GGUF,
        ["fox.gguf"],
        [": GGUF, F32, ", "next: llama-cli -m ", "quantised K cache: its blocks of 32 do not divide heads of 16;"],
    ),
    (["--format", "hf", "-o", "fox"], Form.HUGGING_FACE, ["fox"], ["generation_config.json", "tokenizer.json"]),
    (["-o", "fox"], Form.HUGGING_FACE, ["fox"], ["tokenizer_config.json"]),
    (["-o", "fox-1"], Form.HUGGING_FACE, ["fox-1"], ["tokenizer_config.json"]),
    (["--type", "q8_0", "-o", "fox.GGUF"], Form.GGUF, ["fox.GGUF"], [": GGUF, Q8_0, "]),
    (["-o", "fox.bin"], Form.LLAMA2C, ["fox.bin", "fox.tokenizer.bin"], [": llama2.c v0, float32, "]),
    (["-o", "fox.pt"], Form.TORCH, ["fox.pt"], ["python sample.py"]),
    (["--format", "gguf", "--type", "f16", "-o", "x"], Form.GGUF, ["x"], [": GGUF, F16, "]),
    (
        ["--format", "gguf", "--type", "q8_0", "-o", "x"],
        Form.GGUF,
        ["x"],
        ["F16 instead of Q8_0, whose blocks of 32 do not divide the rows: 1 matrix, first blk.0.ffn_down.weight"],
    ),
    (
        ["--format", "llama2c", "-o", "fox.bin"],
        Form.LLAMA2C,
        ["fox.bin", "fox.tokenizer.bin"],
        [": llama2.c v0, float32, ", ": 420 pieces, ", "next: ./run ", 'fox.tokenizer.bin -i "Once upon a time"'],
    ),
    (
        ["--format", "llama2c", "--version", "1", "-o", "fox.bin"],
        Form.LLAMA2C,
        ["fox.bin", "fox.tokenizer.bin"],
        [": llama2.c v1, float32, "],
    ),
    (
        ["--format", "llama2c", "--version", "2", "-o", "fox.bin"],
        Form.LLAMA2C,
        ["fox.bin", "fox.tokenizer.bin"],
        [
            ": llama2.c v2, Q8_0 in groups of 4, ",
            "groups of 4: 64 does not divide dim 64 and hidden 172",
            "next: ./runq ",
        ],
    ),
    (
        ["--format", "llama2c", "--version", "2", "--group-size", "2", "-o", "fox.bin"],
        Form.LLAMA2C,
        ["fox.bin", "fox.tokenizer.bin"],
        [": llama2.c v2, Q8_0 in groups of 2, "],
    ),
    (["--format", "pt", "-o", "fox.pt"], Form.TORCH, ["fox.pt"], ["without an optimizer", "python sample.py"]),
]


@pytest.mark.parametrize(("arguments", "form", "files", "said"), WRITTEN, ids=lambda value: str(value)[:50])
def test_writes(
    llgen: Command,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    form: Form,
    files: list[str],
    said: list[str],
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    monkeypatch.chdir(out)
    for _ in range(2):  # the second time over its own
        code, stdout, stderr = llgen("export", model, *arguments, "--json")
        assert (code, "Traceback" in stderr) == (0, False), stderr
        for words in said:
            assert words in stderr
    answer = json.loads(stdout)
    named = {Form.HUGGING_FACE: "huggingface", Form.GGUF: "gguf", Form.LLAMA2C: "llama2c", Form.TORCH: "pt"}
    assert (answer["model"], answer["format"]) == (arguments[-1], named[form])
    assert all(Path(file).is_file() for file in answer["files"])
    assert files == sorted(entry.name for entry in out.iterdir())
    assert detect(out / files[0]) is form
    assert len({entry.stat().st_mode for entry in out.rglob("*") if entry.is_file()}) == 1


def test_of_heads_that_blocks_divide_nothing_is_said(llgen: Command, tmp_path: Path) -> None:
    config = replace(CONFIG, n_heads=2, n_kv_heads=1, head_dim=32)
    save_checkpoint(random_checkpoint(config, vocabulary=trained_vocabulary(420)), tmp_path / "fox")
    code, _, stderr = llgen("export", tmp_path / "fox", "-o", tmp_path / "fox.gguf")
    assert code == 0
    assert "K cache" not in stderr


@pytest.mark.parametrize("format_", ["gguf", "llama2c", "pt", "huggingface"])
def test_import_brings_it_back(
    llgen: Command, model: Path, checkpoint: Checkpoint, tmp_path: Path, format_: str
) -> None:
    assert llgen("export", model, "--format", format_, "-o", tmp_path / "x.out")[0] == 0
    tokenizer = [] if format_ in ("gguf", "huggingface") else ["--tokenizer", model / "tokenizer.model"]
    code, _, stderr = llgen("import", tmp_path / "x.out", *tokenizer, "-o", tmp_path / "back")
    assert code == 0, stderr
    again = load_checkpoint(tmp_path / "back")
    assert again.config == checkpoint.config
    assert again.vocabulary is not None and checkpoint.vocabulary is not None
    assert again.vocabulary.pieces == checkpoint.vocabulary.pieces
    for name, tensor in checkpoint.tensors.items():
        np.testing.assert_array_equal(again.tensors[name], tensor)


def test_exports_from_any_form(llgen: Command, model: Path, tmp_path: Path) -> None:
    llgen("export", model, "--format", "llama2c", "--version", "2", "-o", tmp_path / "fox.bin")
    code, _, stderr = llgen(
        "export", tmp_path / "fox.bin", "--tokenizer", tmp_path / "fox.tokenizer.bin",
        "--format", "gguf", "-o", tmp_path / "fox.gguf",
    )  # fmt: skip
    assert code == 0
    assert "llama2.c v2, Q8_0 in groups of 4, dequantised to float32" in stderr
    assert llgen("import", tmp_path / "fox.gguf", "-o", tmp_path / "back")[0] == 0
    assert read_tokenizer_bin(tmp_path / "fox.tokenizer.bin").pieces == trained_vocabulary(420).pieces


def test_a_version_in_the_name_of_a_directory_is_no_suffix(llgen: Command, model: Path, tmp_path: Path) -> None:
    code, _, stderr = llgen("export", model, "-o", tmp_path / "fox-v1.5")
    assert code == 0, stderr
    assert load_checkpoint(tmp_path / "fox-v1.5").config == load_checkpoint(model).config


def test_without_a_tokenizer_it_says_so(llgen: Command, tmp_path: Path) -> None:
    save_checkpoint(random_checkpoint(CONFIG), tmp_path / "bare")
    for format_, words in (("llama2c", "run.c needs the tokenizer.bin"), ("gguf", "only token ids")):
        code, _, stderr = llgen("export", tmp_path / "bare", "--format", format_, "-o", tmp_path / format_)
        assert code == 0
        assert f"no tokenizer: {words}" in stderr or words in stderr
    assert {"bare", "gguf", "llama2c"} == {entry.name for entry in tmp_path.iterdir()}


def test_says_what_run_c_takes_otherwise(llgen: Command, tmp_path: Path) -> None:
    vocabulary = trained_vocabulary(150, byte_fallback=False, bos_id=2, eos_id=1)
    config = replace(CONFIG, vocab_size=len(vocabulary), bos_id=2, end_ids=(1, 2))
    save_checkpoint(random_checkpoint(config, vocabulary=vocabulary), tmp_path / "fox")
    code, _, stderr = llgen("export", tmp_path / "fox", "--format", "llama2c", "-o", tmp_path / "fox.bin")
    assert code == 0
    assert "llama2.c's code expects BOS 1 and EOS 2; this model's are 2 and 1" in stderr
    assert "run.c uses pieces 3 to 258 for bytes" in stderr


# arguments after `export` -> (exit code, what stderr must say)
REFUSED = [
    (["MODEL", "-o", "OUT.onnx"], 2, "does not say what to write\n  try: --format huggingface (hf), gguf, llama2c or"),
    (["MODEL", "-o", "DIARY"], 2, "diary.txt' does not say what to write"),
    (["MODEL", "--format", "gguf", "-o", "OUT.bin"], 2, "--format gguf contradicts the name"),
    (["MODEL", "--format", "hf", "-o", "OUT.gguf"], 2, "out.gguf', which means gguf"),
    (["MODEL", "--type", "q8_0", "-o", "OUT"], 2, "--type is for --format gguf, not huggingface"),
    (["MODEL", "--format", "onnx", "-o", "OUT"], 2, "'onnx' is not one of"),
    (["MODEL", "--format", "gguf"], 2, "missing option '-o'"),
    (["missing", "--format", "gguf", "-o", "OUT"], 2, "'missing' does not exist"),
    (["MODEL", "--format", "pt", "--type", "f16", "-o", "OUT"], 2, "--type is for --format gguf, not pt"),
    (["MODEL", "--format", "gguf", "--version", "1", "-o", "OUT"], 2, "--version is for --format llama2c, not gguf"),
    (["MODEL", "--format", "llama2c", "--version", "3", "-o", "OUT"], 2, "3 is not in the range 0<=x<=2"),
    (["MODEL", "--format", "llama2c", "--group-size", "8", "-o", "OUT"], 2, "--group-size is for --format llama2c --v"),
    (["MODEL", "--format", "gguf", "-o", "FOLDER"], 2, "is a directory; a GGUF file is a file"),
    (["MODEL", "--format", "gguf", "-o", "DIARY"], 1, "exists and is not a GGUF file"),
    (["MODEL", "--format", "llama2c", "-o", "DIARY"], 1, "exists and is not a llama2.c checkpoint"),
    (["MODEL", "--format", "pt", "-o", "DIARY"], 1, "exists and is not a PyTorch file"),
    (["MODEL", "--format", "huggingface", "-o", "DIARY"], 2, "exists and is a file"),
    (["MODEL", "--format", "huggingface", "-o", "FOLDER"], 1, "which is not llgen's to replace"),
    (["MODEL", "--format", "llama2c", "-o", "FOLDER/diary.bin"], 1, "exists and is no tokenizer.bin"),
    (["DIARY", "--format", "gguf", "-o", "OUT"], 1, "seems to be no llama2.c checkpoint"),
    (["THETA", "--format", "llama2c", "-o", "OUT"], 1, "fixes rope_theta at 10000.0; the model has 5000.0"),
    (["THETA", "--format", "pt", "-o", "OUT"], 1, "fixes rope_theta at 10000.0; the model has 5000.0"),
]


@pytest.mark.parametrize(("arguments", "exit_code", "message"), REFUSED, ids=lambda value: str(value)[:50])
def test_refusal_leaves_nothing_behind(
    llgen: Command,
    model: Path,
    checkpoint: Checkpoint,
    tmp_path: Path,
    arguments: list[str],
    exit_code: int,
    message: str,
) -> None:
    folder, diary = tmp_path / "folder", tmp_path / "diary.txt"
    folder.mkdir()
    (folder / "diary.tokenizer.bin").write_text("Once upon a time there was a diary.")
    diary.write_text("Once upon a time there was a diary.")
    save_checkpoint(replace(checkpoint, config=replace(CONFIG, rope_theta=5000.0)), tmp_path / "theta")
    places = {"MODEL": model, "OUT": tmp_path / "out", "FOLDER": folder, "DIARY": diary, "THETA": tmp_path / "theta"}
    places |= {f"OUT{suffix}": tmp_path / f"out{suffix}" for suffix in (".onnx", ".bin", ".gguf")}
    places["FOLDER/diary.bin"] = folder / "diary.bin"
    before = set(tmp_path.rglob("*"))
    code, stdout, stderr = llgen("export", *(places.get(word, word) for word in arguments))
    assert message in stderr
    assert (exit_code, "") == (code, stdout)
    assert "Traceback" not in stderr
    assert before == set(tmp_path.rglob("*"))
    assert diary.read_text() == "Once upon a time there was a diary."


def test_import_says_that_files_end_a_text_differently(llgen: Command, model: Path, tmp_path: Path) -> None:
    for name in ("generation_config.json", "tokenizer.json", "tokenizer_config.json"):
        (model / name).unlink()
    path = model / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"eos_token_id": [2, 5, 7]}))
    code, _, stderr = llgen("import", model, "-o", tmp_path / "out")
    assert code == 0
    assert (
        "what ends a text differs, config.json with 2 '</s>', 5 '<0x02>' and 7 '<0x04>', tokenizer.model with 2 '</s>':"
        " llgen ends it with 2 '</s>', 5 '<0x02>', 7 '<0x04>' and 1 '<s>'\n"
    ) in stderr


def test_without_torch_pt_alone_is_refused(model: Path, tmp_path: Path) -> None:
    run = partial(shell, command=WITHOUT_TORCH)
    refused = run("export", model, "--format", "pt", "-o", tmp_path / "x.pt")
    assert refused.returncode == 1
    assert (
        "writing a PyTorch file needs PyTorch, which is not installed\n  try: pip install 'llgen[train]'"
        in refused.stderr
    )
    assert not (tmp_path / "x.pt").exists()
    assert run("export", model, "--format", "gguf", "-o", tmp_path / "x.gguf").returncode == 0
    assert run("import", tmp_path / "x.gguf", "-o", tmp_path / "back").returncode == 0

    from llgen.trainer.llama2c_checkpoint import write_llama2c_checkpoint

    write_llama2c_checkpoint(random_checkpoint(CONFIG), tmp_path / "x.pt")
    refused = run("import", tmp_path / "x.pt", "-o", tmp_path / "back2")
    assert refused.returncode == 1
    assert "is a PyTorch file; reading it needs PyTorch, which is not installed" in refused.stderr
