"""`llgen import`: what it writes, what it says, and that it leaves nothing behind when it fails."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentencepiece.sentencepiece_model_pb2 as schema
from commands import Command, invoke

from llgen.codegen.cli.evaluate import command as evaluate
from llgen.codegen.cli.main import group
from llgen.codegen.formats.hf.directory import load_checkpoint
from llgen.codegen.model.sentence_piece import SentencePiece
from llgen.codegen.model.spec import lower
from llgen.codegen.model.vocabulary import Piece
from llgen.codegen.quantise.fold import fold
from llgen.codegen.quantise.quantize import round_to_nearest
from llgen.errors import LlgenError

Files = dict[str, Path]


@pytest.fixture
def llgen_import(llgen: Command) -> Command:
    """Run `llgen import ARGUMENTS`; returns exit code, stdout and stderr."""
    return partial(llgen, "import")


@pytest.fixture
def files(llama2c: Callable[..., Any], tokenizer_bin: Any, pieces: tuple[Piece, ...], tmp_path: Path) -> Files:
    """One file of each kind by a short name; none is named after its kind."""
    unigram = schema.ModelProto()
    unigram.pieces.add(piece="<unk>", type=2)
    unigram.trainer_spec.model_type = schema.TrainerSpec.UNIGRAM
    contents = {
        "v0": llama2c(0).data,
        "v1": llama2c(1, tied=False).data,
        "v2": llama2c(2, group_size=8).data,
        "tokenizer": tokenizer_bin(pieces),
        "smaller tokenizer": tokenizer_bin(pieces[:-1]),
        "few pieces": tokenizer_bin((*pieces[:3], *pieces[-8:])),
        "larger tokenizer": tokenizer_bin((*pieces, Piece("x", -99.0, pieces[-1].kind))),
        "unigram": unigram.SerializeToString(),
        "truncated": llama2c(0).data[:-1],
        "oversized": llama2c(0).data + b"\0",
        "version 3": llama2c(1).data[:4] + struct.pack("<i", 3) + llama2c(1).data[8:],
        "negative dim": struct.pack("<i", -8) + llama2c(0).data[4:],
        "three heads": llama2c(0).data[:12] + struct.pack("<i", 3) + llama2c(0).data[16:],
        "nan": llama2c(0).data[:28] + struct.pack("<f", float("nan")) + llama2c(0).data[32:],
        "prose": b"Once upon a time there was a little girl.",
        "gguf": b"GGUF" + struct.pack("<IQQ", 3, 0, 0),
        "zip": b"PK\x03\x04" + bytes(60),
        "pickle": b"\x80\x02}" + bytes(60),
        "safetensors": struct.pack("<Q", 2) + b"{}",
        "json": b'{"model": {"type": "BPE"}}',
        "empty": b"",
    }
    folder = tmp_path / "in"
    folder.mkdir()
    paths = {name: folder / name for name in contents}
    for name, path in paths.items():
        path.write_bytes(contents[name])
    return paths


@pytest.mark.parametrize(
    ("source", "form"), [("v0", "v0, float32"), ("v1", "v1, float32"), ("v2", "v2, Q8_0 in groups of 8")]
)
def test_makes_a_model_directory(llgen_import: Command, files: Files, tmp_path: Path, source: str, form: str) -> None:
    out = tmp_path / "new" / "tiny"
    code, stdout, stderr = llgen_import(files[source], "--tokenizer", files["tokenizer"], "-o", out)
    assert (code, stdout) == (0, "")
    assert f"llama2.c {form}" in stderr
    assert ("dequantised to float32" in stderr) == (source == "v2")
    assert f"next: llgen run {out}" in stderr
    expected = {"config.json", "generation_config.json", "model.safetensors", "source.json"}
    expected |= {"tokenizer.json", "tokenizer.model", "tokenizer_config.json"}
    assert expected == {entry.name for entry in out.iterdir()}
    checkpoint = load_checkpoint(out)
    assert checkpoint.vocabulary is not None
    assert (checkpoint.config.vocab_size, checkpoint.config.bos_id, checkpoint.config.eos_id) == (270, 1, 2)
    assert checkpoint.config.tied == (source != "v1")
    assert [out] == list(out.parent.iterdir())


def test_every_file_is_as_readable_as_the_next(llgen_import: Command, files: Files, tmp_path: Path) -> None:
    out = tmp_path / "tiny"
    llgen_import(files["v0"], "--tokenizer", files["tokenizer"], "-o", out)
    assert len({entry.stat().st_mode for entry in out.iterdir()}) == 1


def test_json(llgen_import: Command, files: Files, tmp_path: Path) -> None:
    out = tmp_path / "tiny"
    code, stdout, _ = llgen_import(files["v0"], "-o", out, "--json")
    answer = json.loads(stdout)
    assert code == 0
    assert (str(out), 8) == (answer["model"], answer["config"]["dim"])
    assert answer["parameters"] == sum(tensor.size for tensor in load_checkpoint(out).tensors.values())


def test_without_tokenizer_it_says_so(llgen_import: Command, files: Files, tmp_path: Path) -> None:
    out = tmp_path / "tiny"
    code, _, stderr = llgen_import(files["v0"], "-o", out)
    assert code == 0
    assert "no tokenizer: input and output are only token ids\n  try: " in stderr
    assert not (out / "tokenizer.model").exists()
    assert load_checkpoint(out).vocabulary is None


def test_rows_without_a_piece_are_padding_and_it_is_said_once(
    llgen_import: Command, files: Files, tmp_path: Path
) -> None:
    out, again = tmp_path / "tiny", tmp_path / "again"
    code, _, stderr = llgen_import(files["v0"], "--tokenizer", files["smaller tokenizer"], "-o", out)
    assert code == 0
    assert (
        "the model has 270 rows and the tokenizer 269 pieces: the last 1 are padding, [PAD269] to [PAD269]; no"
        " text contains them, and llgen never chooses them\n"
    ) in stderr
    vocabulary = load_checkpoint(out).vocabulary
    assert vocabulary is not None
    assert vocabulary.padding == (269,)
    assert "padding" not in llgen_import(out, "-o", again)[2]
    assert load_checkpoint(again).vocabulary == vocabulary


def test_a_tokenizer_is_left_out_on_demand(llgen_import: Command, files: Files, tmp_path: Path) -> None:
    whole, bare = tmp_path / "whole", tmp_path / "bare"
    llgen_import(files["v0"], "--tokenizer", files["tokenizer"], "-o", whole)
    code, _, stderr = llgen_import(whole, "--no-tokenizer", "-o", bare)
    assert code == 0
    assert "no tokenizer: input and output are only token ids\n" in stderr
    assert load_checkpoint(bare).vocabulary is None
    code, _, stderr = llgen_import(whole, "--no-tokenizer", "--tokenizer", files["tokenizer"], "-o", bare)
    assert code == 2
    assert "--tokenizer and --no-tokenizer exclude each other" in stderr


def test_a_space_in_front_is_chosen_where_the_tokenizer_does_not_say(
    llgen_import: Command, files: Files, tmp_path: Path
) -> None:
    given = ["--tokenizer", files["tokenizer"]]
    code, _, stderr = llgen_import(files["v0"], *given, "-o", tmp_path / "a")
    assert code == 0
    assert "does not say whether a space is put in front of a text: it is, as llama2.c does" in stderr
    code, _, stderr = llgen_import(files["v0"], *given, "--no-space-prefix", "-o", tmp_path / "b")
    assert code == 0
    assert "whether a space" not in stderr
    for name, expected in (("a", True), ("b", False)):
        vocabulary = load_checkpoint(tmp_path / name).vocabulary
        assert vocabulary is not None
        assert vocabulary.add_dummy_prefix is expected
    code, _, stderr = llgen_import(files["v0"], "--no-space-prefix", "-o", tmp_path / "c")
    assert code == 2
    assert "--no-space-prefix is for a tokenizer.bin" in stderr


def test_a_directory_gets_its_tokenizer(llgen_import: Command, files: Files, tmp_path: Path) -> None:
    bare, out = tmp_path / "bare", tmp_path / "tiny"
    llgen_import(files["v1"], "-o", bare)
    code, _, stderr = llgen_import(bare, "--tokenizer", files["tokenizer"], "-o", out)
    assert code == 0
    assert "a Hugging Face directory" in stderr
    before, after = load_checkpoint(bare), load_checkpoint(out)
    assert before.vocabulary is None
    assert after.vocabulary is not None
    for name, tensor in before.tensors.items():
        np.testing.assert_array_equal(tensor, after.tensors[name])


def test_a_tokenizer_alone_becomes_a_model_file(
    llgen_import: Command, files: Files, pieces: tuple[Piece, ...], tmp_path: Path
) -> None:
    out = tmp_path / "tiny.model"
    code, stdout, stderr = llgen_import(files["tokenizer"], "-o", out, "--json")
    assert code == 0
    assert {"tokenizer": str(out), "pieces": 270} == json.loads(stdout)
    assert f"wrote {out}: 270 pieces" in stderr
    assert pieces == SentencePiece.from_file(out).pieces


# arguments after `import` (names of files, or options) -> (exit code, what stderr must say)
REFUSED = [
    (["truncated"], 1, "is truncated: it has"),
    (["oversized"], 1, "has 1 byte too many"),
    (["version 3"], 1, "of version 3; llgen reads 0, 1 and 2"),
    (["negative dim"], 1, "dim is -8"),
    (["three heads"], 1, "dim is 8, which n_heads 3 does not divide"),
    (["nan"], 1, "holds nan at element 0; weights must be finite"),
    (["prose"], 1, "seems to be no llama2.c checkpoint"),
    (["empty"], 1, "has 0 bytes"),
    (["gguf"], 1, "has no general.architecture"),
    (["zip"], 1, "a zip archive, but no PyTorch checkpoint"),
    (["pickle"], 1, "is damaged, or no PyTorch file"),
    (["safetensors"], 1, "weights without a config.json"),
    (["json"], 1, "JSON, not weights"),
    (["unigram"], 1, "a tokenizer without a model"),
    (["tokenizer"], 2, "so -o must name a .model file"),
    (["tokenizer", "--tokenizer", "tokenizer"], 2, "and --tokenizer names another"),
    (["v0", "--tokenizer", "few pieces"], 1, "the tokenizer holds 11 pieces; the model has 270 tokens"),
    (["v0", "--tokenizer", "larger tokenizer"], 1, "the tokenizer holds 271 pieces; the model has 270 tokens"),
    (["v0", "--tokenizer", "unigram"], 1, "is a Unigram tokenizer; llgen supports BPE"),
    (["v0", "--tokenizer", "v1"], 1, "is no tokenizer"),
    (["v0", "--tokenizer", "v0"], 1, "is damaged or no llama2.c tokenizer: piece 1 has length"),
    (["v0", "--tokenizer", "gguf"], 1, "is a GGUF file, no tokenizer"),
    (["v0", "--tokenizer", "json"], 1, "has no vocab from pieces to ids"),
    (["v0", "--tokenizer", "prose"], 1, "is no tokenizer"),
    (["v0", "--tokenizer", "empty"], 1, "is no tokenizer"),
    (["."], 1, "is not a model directory: it has no config.json"),
    (["missing"], 2, "'missing' does not exist"),
    (["v0", "--tokenizer", "missing"], 2, "'missing' does not exist"),
    ([], 2, "missing argument 'SOURCE'"),
]


@pytest.mark.parametrize(("arguments", "exit_code", "message"), REFUSED, ids=lambda value: str(value)[:40])
def test_refusal_leaves_nothing_behind(
    llgen_import: Command, files: Files, tmp_path: Path, arguments: list[str], exit_code: int, message: str
) -> None:
    before = set(tmp_path.rglob("*"))
    code, stdout, stderr = llgen_import(*(files.get(name, name) for name in arguments), "-o", tmp_path / "out")
    assert message in stderr
    assert (exit_code, "") == (code, stdout)
    assert "Traceback" not in stderr
    assert before == set(tmp_path.rglob("*"))


def test_output_must_be_a_model_directory_or_new(llgen_import: Command, files: Files, tmp_path: Path) -> None:
    (tmp_path / "diary.txt").write_text("today")
    for out, expected in ((tmp_path, 1), (tmp_path / "diary.txt", 2)):
        code, _, stderr = llgen_import(files["v0"], "-o", out)
        assert code == expected
        assert "choose another -o" in stderr
    assert (tmp_path / "diary.txt").read_text() == "today"


def test_what_is_imported_or_exported_is_not_replaced(llgen_import: Command, files: Files, tmp_path: Path) -> None:
    out = tmp_path / "tiny"
    llgen_import(files["v0"], "--tokenizer", files["tokenizer"], "-o", out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    code, _, stderr = llgen_import(out, "-o", tmp_path / "tiny" / ".." / "tiny")
    assert (code, "itself, which would be replaced" in stderr) == (1, True)
    with pytest.raises(LlgenError, match="itself, which would be replaced"):
        invoke(group, "export", out, "--format", "huggingface", "-o", out)
    assert before == {path.name: path.read_bytes() for path in out.iterdir()}


def test_imports_the_real_model(llgen_import: Command, shared: Path, tmp_path: Path) -> None:
    folder = shared / "models" / "stories260K"
    made = []
    for tokenizer in ("tok512.model", "tok512.bin"):
        out = tmp_path / tokenizer
        code, stdout, _ = llgen_import(
            folder / "stories260K.bin", "--tokenizer", folder / tokenizer, "-o", out, "--json"
        )
        assert (code, json.loads(stdout)["parameters"]) == (0, 260032)
        made.append((out / "model.safetensors").read_bytes())
    assert made[0] == made[1]
    assert (folder / "tok512.model").read_bytes() == (tmp_path / "tok512.model" / "tokenizer.model").read_bytes()


@pytest.mark.parametrize(
    ("tokenizer", "message"),
    [
        ("models/stories3M/tok4096.bin", "the tokenizer holds 4096 pieces; the model has 512"),
        ("tokenizers/sp_test_model.model", "is a Unigram tokenizer"),
        ("tokenizers/arnoochka_tiny.model", "the normalisation rule 'nmt_nfkc'"),
        ("models/stories260K/logits.npz", "is a zip archive, no tokenizer"),
    ],
)
def test_refuses_real_tokenizers_of_other_models(
    llgen_import: Command, shared: Path, tmp_path: Path, tokenizer: str, message: str
) -> None:
    source = shared / "models" / "stories260K" / "stories260K.bin"
    code, _, stderr = llgen_import(source, "--tokenizer", shared / tokenizer, "-o", tmp_path / "out")
    assert code == 1
    assert message in stderr
    assert list(tmp_path.iterdir()) == []


# --------------------------------------------------------------------------------------- weights quantised before


def test_what_was_quantised_says_what_q8_costs_it(llgen_import: Command, files: Files, tmp_path: Path) -> None:
    code, stdout, stderr = llgen_import(
        files["v2"], "--tokenizer", files["tokenizer"], "-o", tmp_path / "tiny", "--json"
    )
    assert code == 0
    found = json.loads(stdout)["requantised"]
    assert set(found["weights"]) == {"embedding", "wqkv", "wo", "w13", "w2"}
    for kind, error in found["weights"].items():
        assert 0.0 < error["relative_rms"] < 0.02
        assert re.search(rf"^  {kind} +{re.escape(error['name'])} +{error['relative_rms']:.2%}$", stderr, re.MULTILINE)
    model = round_to_nearest(fold(lower(load_checkpoint(tmp_path / "tiny")), "q8"))
    exact = fold(lower(load_checkpoint(tmp_path / "tiny")), "q8").matrices["embedding"]
    moved = np.linalg.norm(model.embedding.dequantized() - exact) / np.linalg.norm(exact)
    assert found["weights"]["embedding"]["relative_rms"] == pytest.approx(moved, rel=1e-5)
    assert f"{found['bytes']:,} bytes, from a file of {files['v2'].stat().st_size:,}" in stderr


@pytest.mark.parametrize("source", ["v0", "v1"])
def test_what_was_not_says_nothing_of_it(llgen_import: Command, files: Files, tmp_path: Path, source: str) -> None:
    code, stdout, stderr = llgen_import(files[source], "-o", tmp_path / "tiny", "--json")
    assert code == 0
    assert "requantised" not in json.loads(stdout)
    assert "quantised" not in stderr


@pytest.mark.skipif(not find_spec("torch"), reason="pip install 'llgen[train]'")
def test_a_text_says_it_in_perplexity(llgen_import: Command, files: Files, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("the cat\n<|endoftext|>\na dog and a cat\n")
    arguments = (files["v2"], "--tokenizer", files["tokenizer"], "--data", text, "-o", tmp_path / "tiny", "--json")
    code, stdout, stderr = llgen_import(*arguments)
    assert code == 0
    found = json.loads(stdout)["requantised"]
    assert found["documents"] == 2
    asked = invoke(evaluate, tmp_path / "tiny", "--scheme", "q8", "--data", text, "--json")
    assert json.loads(asked.stdout)["ratio_to_f32"] == found["ratio_to_f32"] != 1.0
    assert f"perplexity x{found['ratio_to_f32']:.4f} ±{found['standard_error']:.4f} of what was imported" in stderr


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [("v0", (), "was never quantised"), ("v2", (), "comes without a tokenizer")],
)
def test_a_text_that_serves_nothing_is_refused(
    llgen_import: Command, files: Files, tmp_path: Path, source: str, options: tuple[str, ...], message: str
) -> None:
    code, _, stderr = llgen_import(files[source], "--data", files["prose"], "-o", tmp_path / "tiny", *options)
    assert code == 2
    assert message in stderr
    assert not (tmp_path / "tiny").exists()
