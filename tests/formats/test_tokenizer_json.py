"""tokenizer.json and the files around it: SentencePiece's ids from `tokenizers` and `transformers`, and llgen's C."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from generated import Library
from hypothesis import given, settings
from hypothesis import strategies as st
from models import ODD, random_checkpoint, trained_vocabulary
from texts import random_texts
from tokenizers import Tokenizer

from llgen.codegen.formats.hf.directory import load_checkpoint, save_checkpoint
from llgen.codegen.formats.hf.tokenizer_json import differences, merges, tokenizer_json
from llgen.codegen.formats.sentencepiece_model import Conventions, build_proto
from llgen.codegen.model.checkpoint import Checkpoint
from llgen.codegen.model.sentence_piece import SentencePiece
from llgen.codegen.model.vocabulary import Kind, Piece, Vocabulary
from llgen.notices import gathered

# What transformers warns of, as it is imported and used, is none of ours.
pytestmark = pytest.mark.filterwarnings("ignore")

TEXTS = random_texts(10_000)
VARIANTS: dict[str, dict[str, Any]] = {
    "bytes": {},
    "unknown": {"byte_fallback": False},
    "keeps spaces": {"remove_extra_whitespaces": False, "allow_whitespace_only_pieces": True},
    "no dummy prefix": {"add_dummy_prefix": False, "remove_extra_whitespaces": False},
    "folds without prefix": {"add_dummy_prefix": False},
    "spaces inside pieces": {"split_by_whitespace": False},
}
REAL = ["models/stories260K/tok512", "models/stories3M/tok4096", "tokenizers/open_llama_3b"]


def with_tokenizer(vocabulary: Vocabulary) -> Checkpoint:
    bos, eos = vocabulary.bos_id, vocabulary.eos_id
    config = replace(ODD, vocab_size=len(vocabulary), bos_id=bos, end_ids=(eos, bos))
    return random_checkpoint(config, vocabulary=vocabulary)


def auto_tokenizer(vocabulary: Vocabulary, folder: Path) -> Any:
    from transformers import AutoTokenizer

    save_checkpoint(with_tokenizer(vocabulary), folder)
    return AutoTokenizer.from_pretrained(folder, local_files_only=True)


def as_vocabulary(*pieces: Piece, **conventions: bool) -> Vocabulary:
    special = [Piece("<unk>", 0.0, Kind.UNKNOWN), Piece("<s>", 0.0, Kind.CONTROL), Piece("</s>", 0.0, Kind.CONTROL)]
    return SentencePiece.from_proto(build_proto([*special, *pieces], Conventions(**conventions)))


def ids_of(vocabulary: Vocabulary, text: str) -> list[int]:
    """By `tokenizers`, of a text alone."""
    return list(Tokenizer.from_str(tokenizer_json(vocabulary, None).decode()).encode(text).ids)


@pytest.fixture(params=[*VARIANTS, *REAL])
def vocabulary(request: pytest.FixtureRequest) -> Vocabulary:
    if request.param in VARIANTS:
        return trained_vocabulary(**VARIANTS[request.param])
    shared: Path = request.getfixturevalue("shared")
    return SentencePiece.from_file(shared / f"{request.param}.model")


# -------------------------------------------------------------------------------------------------------- same ids


def test_ids_and_texts_of_ten_thousand_texts_are_sentencepieces(vocabulary: Vocabulary, tmp_path: Path) -> None:
    assert differences(vocabulary) == []
    tokenizer = auto_tokenizer(vocabulary, tmp_path)
    ids = [[vocabulary.bos_id, *vocabulary.encode(text)] for text in TEXTS]
    assert tokenizer(TEXTS)["input_ids"] == ids
    known = [of for of in ids if vocabulary.unknown_id not in of]
    assert len(known) > 500
    assert tokenizer.batch_decode(known, skip_special_tokens=True) == [vocabulary.decode(of) for of in known]


def test_ids_of_the_generated_c_are_the_same(vocabulary: Vocabulary, tmp_path: Path) -> None:
    library = Library(with_tokenizer(vocabulary), tmp_path)
    for text in TEXTS[:3000]:
        assert library.encode(text.encode()) == vocabulary.encode(text), repr(text)


def test_the_texts_are_of_all_kinds_and_the_same_each_time() -> None:
    assert random_texts(10_000) == TEXTS
    whole = "".join(TEXTS)
    parts = ("  ", "▁", "\r\n", "\x01", "\x85", "é", "中", "𝔘", "👨\u200d👩", "</s>", "\ufffd")
    assert all(part in whole for part in parts)
    assert sum(text != " ".join(text.split(" ")).strip(" ") for text in TEXTS) > 1000
    assert len(set(TEXTS)) > 9_000


# Pieces over few letters, which overlap themselves and one another in all ways; no two scores are equal.
WORDS = st.lists(st.text("ab", min_size=2, max_size=7), unique=True, min_size=1, max_size=14)


@settings(max_examples=400)
@given(WORDS, st.lists(st.text("abc", max_size=16), max_size=20))
def test_one_merge_a_piece_is_enough_in_any_order_of_scores(words: list[str], texts: list[str]) -> None:
    pieces = [Piece(text, -1.0 - rank, Kind.NORMAL) for rank, text in enumerate([*words, "a", "b", "c", "▁"])]
    vocabulary = as_vocabulary(*pieces)
    assert differences(vocabulary) == []
    for text in texts:
        assert ids_of(vocabulary, text) == vocabulary.encode(text)


def test_merges_are_those_that_sentencepiece_makes() -> None:
    texts = ["a", "b", "▁", "ab", "abab", "ababa", "bba"]
    vocabulary = as_vocabulary(*(Piece(text, -float(rank), Kind.NORMAL) for rank, text in enumerate(texts)))
    assert merges(vocabulary) == [("a", "b"), ("ab", "ab"), ("abab", "a")]  # "bb" and "ba" are none: no way to "bba"


# ------------------------------------------------------------------------------------------- what cannot be the same


def test_what_the_list_of_merges_cannot_say_is_said(tmp_path: Path) -> None:
    letters = [Piece(text, -9.0, Kind.NORMAL) for text in ("a", "b", "▁")]
    tied = as_vocabulary(*letters, Piece("ab", -1.0, Kind.NORMAL), Piece("ba", -1.0, Kind.NORMAL))
    loose = as_vocabulary(*letters, Piece("aü", -1.0, Kind.NORMAL))
    assert differences(tied) == ["2 merged pieces of equal scores"]
    assert differences(loose) == ["pieces with a letter that is none itself (ü)"]
    assert ids_of(loose, "aü") != loose.encode("aü")
    with gathered() as said:
        save_checkpoint(with_tokenizer(tied), tmp_path / "tied")
    assert said == [
        "tokenizer.json gives some texts other ids than tokenizer.model does: "
        "the tokenizer has 2 merged pieces of equal scores"
    ]
    with gathered() as said:
        save_checkpoint(with_tokenizer(trained_vocabulary()), tmp_path / "usual")
    assert said == []


def test_names_of_control_pieces_are_text_unless_transformers_is_told_otherwise(tmp_path: Path) -> None:
    vocabulary = trained_vocabulary()
    tokenizer = auto_tokenizer(vocabulary, tmp_path)
    assert tokenizer.encode("a</s>") == [1, *vocabulary.encode("a</s>")]
    assert tokenizer.encode("a</s>", split_special_tokens=False)[-1] == vocabulary.eos_id


def test_bytes_that_are_no_character_are_told_apart_by_sentencepiece_alone(tmp_path: Path) -> None:
    vocabulary = trained_vocabulary()
    tokenizer = auto_tokenizer(vocabulary, tmp_path)
    ids = [vocabulary.processor.piece_to_id(piece) for piece in ("<0x0A>", "<0xE2>")]
    assert (vocabulary.decode(ids), tokenizer.decode(ids)) == ("\n\ufffd", "\ufffd\ufffd")


# ---------------------------------------------------------------------------------------------------------- the files


@pytest.mark.parametrize("variant", ["bytes", "keeps spaces", "no dummy prefix"])
def test_what_transformers_saves_of_it_gives_the_same_ids_there_and_here(variant: str, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    vocabulary = trained_vocabulary(**VARIANTS[variant])
    tokenizer = auto_tokenizer(vocabulary, tmp_path / "ours")
    tokenizer.save_pretrained(tmp_path / "theirs")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "ours", local_files_only=True)
    model.save_pretrained(tmp_path / "theirs")
    again = AutoTokenizer.from_pretrained(tmp_path / "theirs", local_files_only=True)
    ids = [[vocabulary.bos_id, *vocabulary.encode(text)] for text in TEXTS[:2000]]
    assert again(TEXTS[:2000])["input_ids"] == ids
    assert not (tmp_path / "theirs" / "tokenizer.model").exists()
    imported = load_checkpoint(tmp_path / "theirs")
    assert imported.config == load_checkpoint(tmp_path / "ours").config
    assert imported.vocabulary is not None
    assert [[1, *imported.vocabulary.encode(text)] for text in TEXTS[:2000]] == ids


def test_padding_is_not_chosen_elsewhere_either(tmp_path: Path) -> None:
    vocabulary = trained_vocabulary()
    checkpoint = with_tokenizer(vocabulary.padded(len(vocabulary) + 3))
    save_checkpoint(checkpoint, tmp_path)
    padding = [len(vocabulary) + index for index in range(3)]
    assert json.loads((tmp_path / "generation_config.json").read_text())["suppress_tokens"] == padding
    assert load_checkpoint(tmp_path).sha256 == checkpoint.sha256


@pytest.mark.parametrize("text", ["one <tool> two", "<tool>", "  <tool><tool>  ", "a<tool>b", "tool> x <too"])
def test_a_user_defined_piece_is_found_in_texts_without_rules_for_their_ends(text: str, tmp_path: Path) -> None:
    plain = trained_vocabulary(add_dummy_prefix=False, remove_extra_whitespaces=False)
    vocabulary = plain.with_pieces([Piece("<tool>", 0.0, Kind.USER_DEFINED)])
    assert differences(vocabulary) == []
    assert auto_tokenizer(vocabulary, tmp_path).encode(text) == [1, *vocabulary.encode(text)]


def test_behind_a_user_defined_piece_comes_no_space_that_was_not_there(tmp_path: Path) -> None:
    vocabulary = trained_vocabulary().with_pieces([Piece("<tool>", 0.0, Kind.USER_DEFINED)])
    assert differences(vocabulary) == ["user-defined pieces, and rules for spaces at the ends of a text"]
    tokenizer = auto_tokenizer(vocabulary, tmp_path)
    for text in ("one <tool> two", "one<tool>two", "one  <tool>"):
        assert tokenizer.encode(text) == [1, *vocabulary.encode(text)]
    assert tokenizer.encode("<tool> one") != [1, *vocabulary.encode("<tool> one")]


def test_special_tokens_are_known_by_their_names(tmp_path: Path) -> None:
    tokenizer = auto_tokenizer(trained_vocabulary(150, byte_fallback=False, bos_id=2, eos_id=1), tmp_path)
    assert (tokenizer.bos_token, tokenizer.eos_token, tokenizer.unk_token) == ("<s>", "</s>", "<unk>")
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id) == (2, 1, 0)
    assert sorted(tokenizer.all_special_ids) == [0, 1, 2]
    assert tokenizer("a", "b")["input_ids"][0] == 2


def test_it_is_the_same_file_each_time_and_older_directories_can_be_rewritten(tmp_path: Path) -> None:
    checkpoint = with_tokenizer(trained_vocabulary())
    names = save_checkpoint(checkpoint, tmp_path / "odd")
    assert sorted(names) == sorted(entry.name for entry in (tmp_path / "odd").iterdir())
    before = {name: (tmp_path / "odd" / name).read_bytes() for name in names}
    for name in ("generation_config.json", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "odd" / name).unlink()  # as older ones are
    assert load_checkpoint(tmp_path / "odd").sha256 == checkpoint.sha256
    save_checkpoint(checkpoint, tmp_path / "odd")
    assert before == {name: (tmp_path / "odd" / name).read_bytes() for name in names}
    assert load_checkpoint(tmp_path / "odd").sha256 == checkpoint.sha256
    assert json.loads(before["tokenizer.json"])["model"]["type"] == "BPE"
