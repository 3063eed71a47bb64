"""One model has the same tokens whatever it is read from, and what files do not agree about is said."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from models import ODD, random_checkpoint, trained_vocabulary

from llgen.codegen.formats.detect import read_any
from llgen.codegen.formats.gguf.write import write_gguf
from llgen.codegen.formats.hf.directory import load_checkpoint, save_checkpoint
from llgen.codegen.formats.llama2c.tokenizer import write_tokenizer_bin
from llgen.codegen.formats.llama2c.write import write_llama2c
from llgen.codegen.model.checkpoint import Checkpoint
from llgen.codegen.model.vocabulary import Kind, Vocabulary
from llgen.codegen.quantise.quantize import quantized
from llgen.codegen.quantise.quantized import load_quantized, save_quantized
from llgen.errors import LlgenError
from llgen.notices import gathered

PLAIN = trained_vocabulary(remove_extra_whitespaces=False)
CONFIG = replace(ODD, dim=12, hidden_dim=16, n_heads=2, head_dim=6, n_kv_heads=1, norm_eps=1e-5, rope_theta=10000.0)
TEXTS = ["Once upon a time", " two  spaces ", "Käse, 中文 😀\n", "", "▁", "<pad><s>[PAD420]"]


def model_of(vocabulary: Vocabulary | None, rows: int | None = None, **tokens: Any) -> Checkpoint:
    size = rows or (ODD.vocab_size if vocabulary is None else len(vocabulary))
    return random_checkpoint(replace(CONFIG, vocab_size=size, **tokens), name="m", vocabulary=vocabulary)


def change(path: Path, **values: Any) -> None:
    """Set keys of a JSON file; an Ellipsis takes one away."""
    raw = json.loads(path.read_text()) if path.exists() else {}
    raw |= values
    path.write_text(json.dumps({key: value for key, value in raw.items() if value is not ...}))


def as_directory(model: Checkpoint, folder: Path) -> Checkpoint:
    save_checkpoint(model, folder / "m")
    return load_checkpoint(folder / "m")


def as_quantised(model: Checkpoint, folder: Path) -> Checkpoint:
    save_quantized(quantized(model, "q8"), folder / "m")
    again = load_quantized(folder / "m")
    return replace(model, config=again.config, vocabulary=again.vocabulary)


def as_gguf(model: Checkpoint, folder: Path) -> Checkpoint:
    write_gguf(model, folder / "m.gguf", "f32")
    return read_any(folder / "m.gguf", None)


def with_tokenizer_model(model: Checkpoint, folder: Path) -> Checkpoint:
    write_llama2c(model, folder / "m.bin", 0)
    (folder / "t.model").write_bytes(model.vocabulary.proto)
    return read_any(folder / "m.bin", folder / "t.model")


def with_tokenizer_bin(model: Checkpoint, folder: Path) -> Checkpoint:
    write_llama2c(model, folder / "m.bin", 1)
    write_tokenizer_bin(model.vocabulary, folder / "t.bin")
    return read_any(folder / "m.bin", folder / "t.bin")


def as_pt(model: Checkpoint, folder: Path) -> Checkpoint:
    from llgen.trainer.llama2c_checkpoint import write_llama2c_checkpoint

    write_llama2c_checkpoint(model, folder / "m.pt")
    (folder / "t.model").write_bytes(model.vocabulary.proto)
    return read_any(folder / "m.pt", folder / "t.model")


WAYS = [as_directory, as_quantised, as_gguf, with_tokenizer_model, with_tokenizer_bin, as_pt]


@pytest.mark.parametrize("way", WAYS)
def test_every_way_in_gives_the_same_tokens(way: Callable[..., Checkpoint], tmp_path: Path) -> None:
    model = model_of(PLAIN)
    with gathered() as said:
        found = way(model, tmp_path)
    assert (found.config.bos_id, found.config.end_ids) == (1, (2, 1))
    assert found.vocabulary is not None
    assert [found.vocabulary.encode(text) for text in TEXTS] == [PLAIN.encode(text) for text in TEXTS]
    assert [note for note in said if "space is put" not in note] == []


@pytest.mark.parametrize("way", [as_directory, as_quantised, as_gguf])
@pytest.mark.parametrize("rows", [len(PLAIN), 500])
@pytest.mark.parametrize(("bos", "ends"), [(1, (2, 1)), (1, (1,)), (None, (2, 1)), (7, (2, 7, 1))])
def test_what_llgen_writes_it_reads_with_the_same_tokens(
    way: Callable[..., Checkpoint], rows: int, bos: int | None, ends: tuple[int, ...], tmp_path: Path
) -> None:
    if way is as_gguf and ends == (2, 7, 1):
        bos, ends = 1, (2, 1)  # one of GGUF's two keys for ends is not enough for that
    model = model_of(PLAIN.padded(rows), bos_id=bos, end_ids=ends)
    found = way(model, tmp_path)
    assert found.config.bos_id == bos
    assert set(found.config.end_ids) >= set(ends) - {1 if bos is None and way is as_gguf else -1}
    assert found.vocabulary is not None
    assert found.vocabulary.pieces == model.vocabulary.pieces


@pytest.mark.parametrize("way", [as_directory, as_gguf, with_tokenizer_model, as_pt])
def test_the_template_of_a_tokenizer_json_that_is_given_counts_on_every_way(
    way: Callable[..., Checkpoint], tmp_path: Path
) -> None:
    way(model_of(PLAIN), tmp_path)
    source = next(path for path in tmp_path.iterdir() if path.stem == "m")
    for bos in (None, 1, 7):
        save_checkpoint(model_of(PLAIN, bos_id=bos), tmp_path / f"{bos}")
        assert read_any(source, tmp_path / f"{bos}" / "tokenizer.json").config.bos_id == bos


@pytest.mark.parametrize("way", WAYS)
def test_padding_stays_padding_on_every_way(way: Callable[..., Checkpoint], tmp_path: Path) -> None:
    model = model_of(PLAIN.padded(430))
    found = way(model, tmp_path).vocabulary
    assert found is not None
    assert found.padding == tuple(range(420, 430))


# ------------------------------------------------------------------------------------------------- directories' files


def directory(folder: Path, vocabulary: Vocabulary | None = PLAIN, rows: int | None = None) -> Path:
    """As others save one: weights, config.json and tokenizer.model."""
    shutil.rmtree(folder, ignore_errors=True)
    save_checkpoint(replace(model_of(None, rows or len(PLAIN)), vocabulary=None), folder)
    for entry in folder.iterdir():
        if entry.name not in ("config.json", "model.safetensors"):
            entry.unlink()
    if vocabulary is not None:
        (folder / "tokenizer.model").write_bytes(vocabulary.proto)
    return folder


def test_a_config_that_contradicts_the_tokenizer_is_said_and_the_tokenizer_counts(tmp_path: Path) -> None:
    folder = directory(tmp_path / "other_end_tokens")
    change(folder / "config.json", bos_token_id=0, eos_token_id=1)
    with gathered() as said:
        config = load_checkpoint(folder).config
    assert (config.bos_id, config.end_ids) == (1, (2, 1))
    assert said == [
        "config.json begins a text with 0 '<unk>', tokenizer.model with 1 '<s>', which is what counts",
        "what ends a text differs, config.json with 1 '<s>', tokenizer.model with 2 '</s>':"
        " llgen ends it with 2 '</s>' and 1 '<s>'",
    ]


def test_an_added_token_is_a_row_with_a_name_that_no_text_becomes(tmp_path: Path) -> None:
    folder = directory(tmp_path / "one_added_token", rows=421)
    (folder / "added_tokens.json").write_text(json.dumps({"<pad>": 420}))
    with gathered() as said:
        model = load_checkpoint(folder)
    assert said == []
    assert model.vocabulary is not None
    assert model.vocabulary.pieces[420] == replace(PLAIN.pieces[1], text="<pad>")
    assert model.vocabulary.padding == ()
    for text in TEXTS:
        assert model.vocabulary.encode(text) == PLAIN.encode(text)
    assert model.vocabulary.decode([420, 268]) == PLAIN.decode([268])
    save_checkpoint(model, tmp_path / "again")
    assert load_checkpoint(tmp_path / "again").vocabulary == model.vocabulary


def test_rows_beyond_the_pieces_are_padding(tmp_path: Path) -> None:
    folder = directory(tmp_path / "padded_rows", rows=484)
    with gathered() as said:
        model = load_checkpoint(folder)
    assert said == [
        "the model has 484 rows and the tokenizer 420 pieces: the last 64 are padding, [PAD420] to [PAD483]; no"
        " text contains them, and llgen never chooses them"
    ]
    assert model.vocabulary is not None
    assert model.vocabulary.padding == tuple(range(420, 484))


def test_the_flag_of_an_added_token_tells_whether_text_becomes_it(tmp_path: Path) -> None:
    folder = directory(tmp_path / "m", rows=424)
    listed = {
        "1": {"content": "<s>", "special": True},
        "420": {"content": "<|end|>", "special": True},
        "421": {"content": "<tool>", "special": False},
        "423": {"content": "<s>", "special": True},
        "500": {"content": "<lost>", "special": True},
    }
    change(folder / "tokenizer_config.json", added_tokens_decoder=listed, eos_token={"content": "<|end|>"})
    with gathered() as said:
        model = load_checkpoint(folder)
    vocabulary = model.vocabulary
    assert vocabulary is not None
    assert [piece.text for piece in vocabulary.pieces[420:]] == ["<|end|>", "<tool>", "[PAD422]", "<s>@423"]
    assert [piece.kind for piece in vocabulary.pieces[420:422]] == [Kind.CONTROL, Kind.USER_DEFINED]
    assert 421 in vocabulary.encode("a<tool>b")
    assert 420 not in vocabulary.encode("a<|end|>b")
    assert vocabulary.decode([420, 421]) == "<tool>"
    assert model.config.end_ids == (2, 420, 1)
    assert said[0] == "the model has 424 rows, so that 1 added token beyond them will be left out: 500 '<lost>'"


def test_a_name_with_a_space_is_found_in_text(tmp_path: Path) -> None:
    folder = directory(tmp_path / "m", rows=421)
    change(folder / "tokenizer_config.json", added_tokens_decoder={"420": {"content": "<my tool>", "special": False}})
    model = load_checkpoint(folder)
    assert model.vocabulary is not None
    assert 420 in model.vocabulary.encode("a <my tool> b")
    assert model.vocabulary.decode([420]) == "<my tool>"
    again = as_gguf(model, tmp_path).vocabulary
    assert again is not None
    assert again.pieces == model.vocabulary.pieces
    from gguf import GGUFReader

    written = GGUFReader(tmp_path / "m.gguf").fields["tokenizer.ggml.tokens"].contents()
    assert written[420] == "<my tool>"  # as llama.cpp looks for it


@pytest.mark.parametrize(
    ("settings", "bos"),
    [
        ({}, 1),
        ({"add_bos_token": True}, 1),
        ({"add_bos_token": False}, None),
        ({"bos_token": None}, None),
        ({"bos_token": "</s>"}, 2),
        ({"bos_token": {"content": "<s>"}, "add_bos_token": None}, 1),
        ({"bos_token": "not a piece"}, 1),
    ],
)
def test_the_settings_of_a_tokenizer_say_what_begins_a_text(
    settings: dict[str, Any], bos: int | None, tmp_path: Path
) -> None:
    folder = directory(tmp_path / "m")
    change(folder / "tokenizer_config.json", **settings)
    assert load_checkpoint(folder).config.bos_id == bos


def test_a_tokenizer_that_knows_no_beginning_leaves_it_to_the_config(tmp_path: Path) -> None:
    vocabulary = trained_vocabulary(bos_id=-1)
    for value, bos in ((5, 5), (None, None), (..., None)):
        folder = directory(tmp_path / "m", vocabulary, len(vocabulary))
        change(folder / "config.json", bos_token_id=value)
        assert load_checkpoint(folder).config.bos_id == bos


def test_without_a_tokenizer_a_config_that_is_silent_means_what_transformers_takes_it_for(tmp_path: Path) -> None:
    folder = directory(tmp_path / "m", None)
    change(folder / "config.json", bos_token_id=..., eos_token_id=...)
    config = load_checkpoint(folder).config
    assert (config.bos_id, config.end_ids) == (1, (2, 1))
    change(folder / "config.json", bos_token_id=None, eos_token_id=None)
    config = load_checkpoint(folder).config
    assert (config.bos_id, config.end_ids, config.start_id) == (None, (), 0)


def test_too_many_pieces_and_too_few_are_another_models(tmp_path: Path) -> None:
    for rows in (419, 841):
        with pytest.raises(LlgenError, match=f"the tokenizer holds 420 pieces; the model has {rows} tokens") as error:
            load_checkpoint(directory(tmp_path / "m", rows=rows))
        assert error.value.hint is not None
        assert "--no-tokenizer" in error.value.hint
        assert load_checkpoint(tmp_path / "m", without_tokenizer=True).vocabulary is None


NAMES = st.sampled_from([None, ..., "<s>", "</s>", "<pad>", "▁the", "nothing"])
IDS = st.sampled_from([None, ..., 0, 1, 2, 5, 420, 421, 9999])
FLAGS = st.sampled_from([None, ..., True, False])
ADDED = st.dictionaries(st.sampled_from(["<pad>", "<x>", "<s>", "a"]), st.integers(0, 425), max_size=3).filter(
    lambda added: len(set(added.values())) == len(added)
)


@given(
    rows=st.integers(420, 424),
    config=st.fixed_dictionaries({"bos_token_id": IDS, "eos_token_id": st.one_of(IDS, st.lists(st.integers(0, 425)))}),
    generation=st.fixed_dictionaries({"bos_token_id": IDS, "eos_token_id": IDS}),
    settings=st.fixed_dictionaries({"bos_token": NAMES, "eos_token": NAMES, "add_bos_token": FLAGS}),
    added=ADDED,
)
def test_any_combination_of_files_is_read_or_refused_and_comes_back(
    tmp_path_factory: pytest.TempPathFactory, rows: int, config: Any, generation: Any, settings: Any, added: Any
) -> None:
    folder = directory(tmp_path_factory.mktemp("files") / "m", rows=rows)
    change(folder / "config.json", **config)
    change(folder / "generation_config.json", **generation)
    change(folder / "tokenizer_config.json", **settings)
    (folder / "added_tokens.json").write_text(json.dumps(added))
    try:
        with gathered() as said:
            model = load_checkpoint(folder)
    except LlgenError as error:
        assert "begins a text with token" in error.message
        return
    assert model.vocabulary is not None
    assert len(model.vocabulary) == rows
    assert all(token < rows for token in (*model.config.lead, *model.config.end_ids))
    assert model.config.bos_id in (None, *model.config.end_ids)
    given = {config["bos_token_id"], generation["bos_token_id"]} - {None, ..., 1, model.config.bos_id}
    assert len(said) >= bool(given)
    for text in ("the fox", "<pad><s>"):
        assert model.vocabulary.encode(text) == PLAIN.encode(text)
    save_checkpoint(model, folder.with_name("again"))
    again = load_checkpoint(folder.with_name("again"))
    assert (again.config.bos_id, set(again.config.end_ids)) == (model.config.bos_id, set(model.config.end_ids))
    assert again.vocabulary == model.vocabulary
    np.testing.assert_array_equal(again.tensors["lm_head.weight"], model.tensors["lm_head.weight"])
