"""tokenizer.json of SentencePiece's kind, against the `tokenizers` library itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from models import ODD, trained_vocabulary

from llgen.codegen.formats.detect import read_vocabulary
from llgen.codegen.formats.hf.tokenizer_files import read_tokens
from llgen.codegen.formats.hf.tokenizer_json_read import claim_of_json
from llgen.codegen.formats.sentencepiece_model import build_proto
from llgen.codegen.model.sentence_piece import SentencePiece
from llgen.codegen.model.text_tokens import Claim
from llgen.codegen.model.vocabulary import Kind, Piece, Vocabulary
from llgen.errors import LlgenError

tokenizers = pytest.importorskip("tokenizers", reason="comes with the extra 'verify'")

REPLACE = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
PREPEND = {"type": "Prepend", "prepend": "▁"}
METASPACE = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": False}


def all_splits(vocabulary: Vocabulary) -> list[list[str]]:
    """Merges as transformers makes them of a SentencePiece model: every way to cut every piece in two."""
    scores = {piece.text: piece.score for piece in vocabulary.pieces if piece.kind is Kind.NORMAL}
    pairs = [
        (scores[text], text[:cut], text[cut:])
        for text in scores
        for cut in range(1, len(text))
        if text[:cut] in scores and text[cut:] in scores
    ]
    return [[left, right] for _, left, right in sorted(pairs, key=lambda pair: -pair[0])]


def document(vocabulary: Vocabulary, **changes: Any) -> dict[str, Any]:
    special = [
        {"id": index, "content": piece.text, "special": True, "single_word": False, "lstrip": False, "rstrip": False}
        | {"normalized": False}
        for index, piece in enumerate(vocabulary.pieces)
        if piece.kind in (Kind.UNKNOWN, Kind.CONTROL)
    ]
    model = {
        "type": "BPE",
        "dropout": None,
        "unk_token": "<unk>",
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": True,
        "byte_fallback": bool(vocabulary.byte_ids),
        "vocab": {piece.text: index for index, piece in enumerate(vocabulary.pieces)},
        "merges": all_splits(vocabulary),
    }
    found: dict[str, Any] = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": special,
        "normalizer": {"type": "Sequence", "normalizers": [PREPEND, REPLACE]},
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": None,
        "model": model,
    }
    for key, value in changes.items():
        (model if key in model else found)[key] = value
    return found


def write(folder: Path, content: dict[str, Any]) -> Path:
    path = folder / "tokenizer.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


FULL = trained_vocabulary(remove_extra_whitespaces=False)
SHUFFLED = all_splits(FULL)[::-1]
FORMS = {
    "older, by a normaliser": (FULL, {}),
    "newer, by Metaspace": (FULL, {"normalizer": None, "pre_tokenizer": METASPACE}),
    "no space in front": (FULL, {"normalizer": REPLACE}),
    "words apart": (FULL, {"normalizer": None, "pre_tokenizer": METASPACE | {"split": True}}),
    "merges as one text": (FULL, {"merges": [" ".join(pair) for pair in all_splits(FULL)]}),
    "merges in an odd order": (FULL, {"merges": SHUFFLED}),
    "half of the merges": (FULL, {"merges": all_splits(FULL)[::2]}),
    "unknown": (trained_vocabulary(byte_fallback=False), {}),
    "no unknown token named": (FULL, {"unk_token": None}),
}
WORDS = st.lists(
    st.sampled_from(["fox", "the", " ", "  ", "▁", "é", "😀", "中", "\n", "Bär", "a", "1", "There", "river", "little"]),
    max_size=15,
).map("".join)


@pytest.fixture(scope="module", params=FORMS)
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Vocabulary, Any]:
    vocabulary, changes = FORMS[request.param]
    path = write(tmp_path_factory.mktemp("json"), document(vocabulary, **changes))
    return read_vocabulary(path), tokenizers.Tokenizer.from_file(str(path))


@settings(max_examples=150)
@given(text=st.one_of(WORDS, st.text(max_size=20)))
def test_ids_are_those_of_the_tokenizers_library(both: tuple[Vocabulary, Any], text: str) -> None:
    vocabulary, theirs = both
    if "<" in text or (theirs.pre_tokenizer is not None and text[:1] in (" ", "▁")):
        return  # their rule for special tokens in text, and for a space in front of a space
    assert vocabulary.encode(text) == theirs.encode(text, add_special_tokens=False).ids


def test_it_is_the_tokenizer_that_it_was_made_of(tmp_path: Path) -> None:
    vocabulary = read_vocabulary(write(tmp_path, document(FULL)))
    assert [(piece.text, piece.kind) for piece in vocabulary.pieces] == [
        (piece.text, piece.kind) for piece in FULL.pieces
    ]
    assert (vocabulary.bos_id, vocabulary.eos_id, vocabulary.unknown_id) == (1, 2, 0)


def test_tokens_added_behind_the_pieces_are_read_too(tmp_path: Path) -> None:
    raw = document(FULL)
    raw["added_tokens"].append({"id": 421, "content": "<|end|>", "special": True})
    vocabulary = read_vocabulary(write(tmp_path, raw))
    assert [piece.text for piece in vocabulary.pieces[420:]] == ["[PAD420]", "<|end|>"]


def test_a_template_says_what_is_put_in_front(tmp_path: Path) -> None:
    single = [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    special = {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}
    template = {"type": "TemplateProcessing", "single": single, "pair": single, "special_tokens": special}
    path = write(tmp_path, document(FULL, post_processor=template))
    assert claim_of_json(path) == Claim("tokenizer.json", bos=1, adds_bos=True)
    nothing = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": True}
    sequence = {"type": "Sequence", "processors": [nothing, template]}
    path = write(tmp_path, document(FULL, post_processor=sequence))
    assert claim_of_json(path) == Claim("tokenizer.json", bos=1, adds_bos=True)
    assert tokenizers.Tokenizer.from_file(str(path)).encode("").ids[:1] == [1]
    path = write(tmp_path, document(FULL))
    assert claim_of_json(path) == Claim("tokenizer.json", adds_bos=False)


def test_a_processor_that_is_not_known_says_nothing_of_what_is_put_in_front(tmp_path: Path) -> None:
    bert = {"type": "BertProcessing", "cls": ["<s>", 1], "sep": ["</s>", 2]}
    path = write(tmp_path, document(FULL, post_processor=bert))
    assert claim_of_json(path) == Claim("tokenizer.json")


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "Unigram": ({"type": "Unigram"}, "has a model of type 'Unigram', not BPE"),
    "NFKC": ({"normalizer": {"type": "NFKC"}}, "has a step NFKC"),
    "Digits": ({"pre_tokenizer": {"type": "Digits"}}, "has a step Digits"),
    "spaces as they are": ({"normalizer": None}, "has spaces that stay spaces"),
    "another mark": ({"pre_tokenizer": METASPACE | {"replacement": "_"}}, "has spaces written as '_'"),
    "dropout": ({"dropout": 0.1}, "has dropout = 0.1"),
    "unknown one by one": ({"byte_fallback": False, "fuse_unk": False}, "has an unknown token for each"),
    "no unknown": ({"unk_token": "<what>"}, "has unk_token = '<what>', which is no piece"),
    "half a fold": (
        {"normalizer": {"type": "Replace", "pattern": {"Regex": " +"}, "content": " "}},
        "has a step Replace",
    ),
    "a gap": ({"vocab": {"<unk>": 0, "a": 2}}, "has a vocab whose ids are not 0 to 1"),
    "no vocab": ({"vocab": ["a"]}, "has no vocab from pieces to ids"),
    "a broken merge": ({"merges": [["a"]]}, "merge 0 is ['a'], not a pair"),
}


@pytest.mark.parametrize(("changes", "message"), REFUSED.values(), ids=REFUSED)
def test_what_sentencepiece_has_not_is_refused_by_name(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = write(tmp_path, document(FULL, **changes))
    with pytest.raises(LlgenError) as refusal:
        read_vocabulary(path)
    assert message in refusal.value.message
    assert refusal.value.hint is not None


def test_missing_bytes_are_refused(tmp_path: Path) -> None:
    raw = document(FULL)
    raw["model"]["vocab"]["<0x0a>"] = raw["model"]["vocab"].pop("<0x0A>")
    with pytest.raises(LlgenError, match="has byte_fallback without a piece for each of the 256 bytes"):
        read_vocabulary(write(tmp_path, raw))


# ------------------------------------------------------------------------------------------------------- damaged files

TINY = ("<unk>", "<s>", "</s>", "▁", "a", "b", "ab", "▁a")
VALUES = (None, True, 3, -1, 1.5, "x", [], {}, [[]])


def tiny_files() -> dict[str, Any]:
    """Every file of a directory that says something of its tokens, each with every key that is read."""
    pieces = [Piece(text, 0.0, Kind.UNKNOWN if text == "<unk>" else Kind.CONTROL) for text in TINY[:3]]
    pieces += [Piece(text, -float(place), Kind.NORMAL) for place, text in enumerate(TINY[3:])]
    single = [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    special = {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}
    template = {"type": "TemplateProcessing", "single": single, "pair": single, "special_tokens": special}
    raw = document(
        SentencePiece.from_proto(build_proto(pieces)),
        merges=[["a", "b"], "▁ a"],
        pre_tokenizer=METASPACE,
        post_processor={"type": "Sequence", "processors": [{"type": "ByteLevel"}, template]},
    )
    raw["added_tokens"] = [*raw["added_tokens"][:2], {"id": 8, "content": "<x>", "special": False}]
    return {
        "tokenizer.json": raw,
        "tokenizer_config.json": {
            "bos_token": "<s>",
            "eos_token": {"content": "</s>"},
            "add_bos_token": True,
            "added_tokens_decoder": {"9": {"content": "<y>", "special": True}},
        },
        "added_tokens.json": {"<x>": 8, "<z>": 10},
        "generation_config.json": {"bos_token_id": 1, "eos_token_id": [2, 8]},
    }


def places(value: Any, *above: Any) -> Iterator[tuple[Any, ...]]:
    """The keys that lead to each value within a document, and to the document itself."""
    yield above
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield from places(value[key], *above, key)


def with_value(document: Any, place: tuple[Any, ...], value: Any) -> Any:
    if not place:
        return value
    changed = copy(document)
    changed[place[0]] = with_value(document[place[0]], place[1:], value)
    return changed


@pytest.mark.parametrize("name", tiny_files())
@pytest.mark.parametrize("beside", ["tokenizer.json alone", "beside a tokenizer.model"])
def test_any_value_at_any_place_of_a_tokenizers_files_is_read_or_refused(
    name: str, beside: str, tmp_path: Path
) -> None:
    files, config = tiny_files(), replace(ODD, vocab_size=12)
    for file, content in files.items():
        (tmp_path / file).write_text(json.dumps(content))
    if beside != "tokenizer.json alone":
        (tmp_path / "tokenizer.model").write_bytes(read_vocabulary(tmp_path / "tokenizer.json").proto)
    vocabulary = read_tokens(tmp_path, {}, config)[1]
    assert vocabulary is not None
    assert [piece.text for piece in vocabulary.pieces[8:11]] == ["<x>", "<y>", "<z>"]
    for place in places(files[name]):
        for value in VALUES:
            (tmp_path / name).write_text(json.dumps(with_value(files[name], place, value)))
            try:
                read_tokens(tmp_path, {}, config)
            except LlgenError:
                pass
            except Exception as error:
                raise AssertionError(f"{name}: {value!r} at {place}") from error
