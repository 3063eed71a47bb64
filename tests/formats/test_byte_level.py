"""Byte-level BPE in files: read as `tokenizers` and llama.cpp read it, written so that they read it alike."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from byte_level import KINDS, LINES, saved, trained
from models import ODD, random_checkpoint
from tokenizers import Tokenizer

from llgen.codegen.formats.detect import read_any, read_vocabulary
from llgen.codegen.formats.gguf.write import write_gguf
from llgen.codegen.formats.hf.directory import load_checkpoint, save_checkpoint
from llgen.codegen.model.byte_level import ByteLevel
from llgen.codegen.model.checkpoint import Checkpoint
from llgen.codegen.model.vocabulary import Kind
from llgen.errors import LlgenError


def model_of(vocabulary: ByteLevel, **changes: Any) -> Checkpoint:
    config = replace(ODD, vocab_size=len(vocabulary), bos_id=None, end_ids=(2,), **changes)
    return random_checkpoint(config, vocabulary=vocabulary)


@pytest.mark.parametrize("kind", KINDS)
def test_a_directory_comes_back_and_tokenizers_reads_it_alike(kind: str, tmp_path: Path) -> None:
    ours = saved(trained(kind), tmp_path)
    save_checkpoint(model_of(ours), tmp_path / "model")
    back = load_checkpoint(tmp_path / "model").vocabulary
    assert isinstance(back, ByteLevel)
    assert back.identity == ours.identity
    theirs = Tokenizer.from_file(str(tmp_path / "model" / "tokenizer.json"))
    theirs.encode_special_tokens = True
    for line in LINES:
        assert theirs.encode(line).ids == ours.encode(line)
    assert not (tmp_path / "model" / "tokenizer.model").exists()


@pytest.mark.parametrize("kind", ["gpt2", "smollm", "llama3"])
def test_gguf_comes_back(kind: str, tmp_path: Path) -> None:
    ours = saved(trained(kind), tmp_path)
    write_gguf(model_of(ours), tmp_path / "model.gguf", "f32")
    back = read_any(tmp_path / "model.gguf", None).vocabulary
    assert isinstance(back, ByteLevel)
    assert (back.pieces, back.merges, back.pattern) == (ours.pieces, ours.merges, ours.pattern)
    assert back.whole_words == ours.whole_words


def test_gguf_has_no_name_for_other_rules(tmp_path: Path) -> None:
    vocabulary = replace(saved(trained("llama3"), tmp_path), whole_words=False)
    write_gguf(model_of(vocabulary), tmp_path / "dbrx.gguf", "f32")
    vocabulary = replace(saved(trained("gpt2"), tmp_path), whole_words=True)
    with pytest.raises(LlgenError, match="GGUF has no name for the rules"):
        write_gguf(model_of(vocabulary), tmp_path / "model.gguf", "f32")
    assert not (tmp_path / "model.gguf").exists()


def test_added_tokens_are_controls_or_cut_text(tmp_path: Path) -> None:
    ours = saved(trained("smollm"), tmp_path)
    kinds = {piece.text: piece.kind for piece in ours.pieces}
    assert kinds["<|im_start|>"] is Kind.CONTROL
    assert kinds["<think>"] is Kind.USER_DEFINED
    assert ours.decode(ours.encode("a<|im_start|>b<think>xc")) == "a<|im_start|>b<think>xc"
    control = next(index for index, piece in enumerate(ours.pieces) if piece.text == "<|im_start|>")
    assert control not in ours.encode("<|im_start|>")
    assert ours.decode([control]) == ""


def at(*path: str | int, value: object) -> Any:
    def change(raw: Any) -> None:
        for key in path[:-1]:
            raw = raw[key]
        raw[path[-1]] = value

    return change


def name_a_snowman(raw: Any) -> None:
    vocab = raw["model"]["vocab"]
    raw["model"]["vocab"] = {"☃" if index == 300 else name: index for name, index in vocab.items()}


REFUSED = {
    "dropout": (at("model", "dropout", value=0.1), "has dropout = 0.1"),
    "unknown": (at("model", "unk_token", value="<|im_end|>"), "has unk_token = "),
    "normaliser": (at("normalizer", value={"type": "NFKC"}), "has the normaliser NFKC"),
    "space in front": (
        at("pre_tokenizer", "pretokenizers", 0, "add_prefix_space", value=True),
        "has a space put in front of a text",
    ),
    "another step": (at("pre_tokenizer", value={"type": "Whitespace"}), "has a step Whitespace"),
    "pattern": (
        at("pre_tokenizer", value={"type": "Split", "pattern": {"Regex": r"\w+|\W+"}, "behavior": "Isolated"}),
        r"the tokenizer divides text by '\\w+|\\W+', and llgen does not know '\\w' in it",
    ),
    "gaps": (
        at("pre_tokenizer", value={"type": "Split", "pattern": {"Regex": r"\p{L}+"}, "behavior": "Isolated"}),
        r"the tokenizer divides text by '\\p{L}+', which leaves gaps",
    ),
    "behaviour": (
        at("pre_tokenizer", value={"type": "Split", "pattern": {"Regex": " "}, "behavior": "MergedWithNext"}),
        "has a step Split",
    ),
    "piece": (name_a_snowman, "the characters of token 300 '☃' stand for no bytes"),
    "merge": (at("model", "merges", value=[["a", "☃"]]), "merges 'a' and '☃', and '☃' is no piece"),
    "an added byte": (
        at("added_tokens", value=[{"id": 3, "content": "!", "special": False}]),
        "has an added token '!' that other text is merged to, too",
    ),
    "a stripped added token": (
        at("added_tokens", value=[{"id": 425, "content": "<x>", "special": False, "lstrip": True}]),
        "has an added token '<x>' with lstrip",
    ),
}


@pytest.mark.parametrize(("change", "message"), REFUSED.values(), ids=REFUSED)
def test_what_the_generated_tokenizer_lacks_is_refused_by_name(change: Any, message: str, tmp_path: Path) -> None:
    raw = json.loads(trained("gpt2").to_str())
    change(raw)
    (tmp_path / "tokenizer.json").write_text(json.dumps(raw), encoding="utf-8")
    with pytest.raises(LlgenError) as refusal:
        read_vocabulary(tmp_path / "tokenizer.json")
    assert message in refusal.value.message
    assert refusal.value.hint


def test_a_late_part_that_could_arise_again_is_refused(tmp_path: Path) -> None:
    """`abab` would merge before its second half arises: no order of pieces can say so."""
    raw = json.loads(trained("gpt2").to_str())
    names = {index: name for name, index in raw["model"]["vocab"].items()}
    for index, name in ((420, "ab"), (421, "aba")):
        names[index] = name
    raw["added_tokens"] = []
    raw["model"]["vocab"] = {names[index]: index for index in range(len(names))}
    raw["model"]["merges"] = [["ab", "a"], ["a", "b"]]
    (tmp_path / "tokenizer.json").write_text(json.dumps(raw), encoding="utf-8")
    found = read_vocabulary(tmp_path / "tokenizer.json")
    assert isinstance(found, ByteLevel)
    with pytest.raises(LlgenError, match="before a merge by which they arise"):
        _ = found.origins
