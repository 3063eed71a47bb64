"""llama2.c's tokenizer.bin: the rebuilt SentencePiece model encodes as the one that was exported."""

from __future__ import annotations

import contextlib
import io
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st

from llgen.codegen.formats.detect import Form, detect, read_vocabulary
from llgen.codegen.formats.llama2c.tokenizer import read_tokenizer_bin
from llgen.codegen.formats.sentencepiece_model import write_model
from llgen.codegen.model.sentence_piece import SentencePiece
from llgen.codegen.model.vocabulary import Kind, Piece, Vocabulary
from llgen.errors import LlgenError, UsageError
from llgen.notices import gathered

Exporter = Callable[[tuple[Piece, ...]], bytes]

# Words with single spaces between them: what the .bin does not say about runs of spaces cannot show.
WORDS = st.lists(st.text(st.characters(exclude_characters=" ▁\0", exclude_categories=["Cs"]), min_size=1), max_size=8)
# Each example overwrites the file of the one before, in one folder.
in_tmp_path = settings(max_examples=200)


@pytest.fixture(scope="module")
def trained() -> Vocabulary:
    """A small BPE tokenizer with byte fallback, by SentencePiece's own trainer."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["the cat sat on the mat", "a hat, a bat and the rat", "that is that"] * 20),
        model_writer=model,
        model_type="bpe",
        vocab_size=320,
        hard_vocab_limit=False,
        byte_fallback=True,
        normalization_rule_name="identity",
        character_coverage=1.0,
        minloglevel=2,
    )
    return SentencePiece.from_proto(model.getvalue())


@pytest.fixture(scope="module")
def rebuilt(trained: Vocabulary, tokenizer_bin: Exporter, tmp_path_factory: pytest.TempPathFactory) -> Vocabulary:
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.bin"
    path.write_bytes(tokenizer_bin(trained.pieces))
    return read_tokenizer_bin(path)


def read(tmp_path: Path, data: bytes) -> Vocabulary:
    path = tmp_path / "tokenizer.bin"
    path.write_bytes(data)
    return read_tokenizer_bin(path)


# ------------------------------------------------------------------------------------------------------ valid files


def test_rebuilds_pieces_and_features(trained: Vocabulary, rebuilt: Vocabulary) -> None:
    assert trained.pieces == rebuilt.pieces
    assert (rebuilt.unknown_id, rebuilt.bos_id, rebuilt.eos_id, rebuilt.byte_base) == (0, 1, 2, 3)
    assert rebuilt.add_dummy_prefix
    assert not rebuilt.remove_extra_whitespaces
    assert trained.unknown_surface == rebuilt.unknown_surface


@given(words=WORDS)
def test_encodes_as_the_original(trained: Vocabulary, rebuilt: Vocabulary, words: list[str]) -> None:
    text = " ".join(words)
    ids = trained.encode(text)
    assert ids == rebuilt.encode(text)
    assert trained.decode(ids) == rebuilt.decode(ids)


def test_keeps_every_space(rebuilt: Vocabulary) -> None:
    assert rebuilt.decode(rebuilt.encode(" the  cat ")) == " the  cat "


def test_knows_pieces_by_their_text(pieces: tuple[Piece, ...], tokenizer_bin: Exporter, tmp_path: Path) -> None:
    # Among them a line feed, a run of spaces, and "<0xZZ>", which is no byte.
    assert pieces == read(tmp_path, tokenizer_bin(pieces)).pieces


def test_reads_tokenizer_without_bytes_and_with_other_special_ids(tokenizer_bin: Exporter, tmp_path: Path) -> None:
    pieces = (
        Piece("<pad>", 0.0, Kind.CONTROL),
        Piece("<unk>", 0.0, Kind.UNKNOWN),
        Piece("<s>", 0.0, Kind.CONTROL),
        Piece("</s>", 0.0, Kind.CONTROL),
        Piece("▁", -1.0, Kind.NORMAL),
        Piece("a", -2.0, Kind.NORMAL),
    )
    vocabulary = read(tmp_path, tokenizer_bin(pieces))
    assert pieces == vocabulary.pieces
    assert (vocabulary.unknown_id, vocabulary.bos_id, vocabulary.eos_id, vocabulary.byte_base) == (1, 2, 3, None)
    assert vocabulary.encode("aé") == [4, 5, 1]


def test_plain_names_of_bos_and_eos_are_special(
    pieces: tuple[Piece, ...], tokenizer_bin: Exporter, tmp_path: Path
) -> None:
    data = tokenizer_bin(pieces)
    for name in (b"<s>", b"</s>"):
        printed = b"\n" + name + b"\n"
        data = data.replace(struct.pack("<i", len(printed)) + printed, struct.pack("<i", len(name)) + name)
    assert pieces == read(tmp_path, data).pieces


def test_longest_length_is_not_trusted(pieces: tuple[Piece, ...], tokenizer_bin: Exporter, tmp_path: Path) -> None:
    data = tokenizer_bin(pieces)
    for longest in (0, -1, 2**31 - 1):
        assert pieces == read(tmp_path, struct.pack("<i", longest) + data[4:]).pieces


def test_kind_of_file_is_its_content(rebuilt: Vocabulary, tokenizer_bin: Exporter, tmp_path: Path) -> None:
    model, binary = tmp_path / "a.bin", tmp_path / "b.model"
    write_model(rebuilt, model)
    binary.write_bytes(tokenizer_bin(rebuilt.pieces))
    assert rebuilt == read_vocabulary(model) == read_vocabulary(binary)


def test_writes_over_its_own_kind_only(rebuilt: Vocabulary, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.model"
    write_model(rebuilt, path)
    write_model(rebuilt, path)
    path.write_text("a diary")
    with pytest.raises(LlgenError, match=r"exists and is no tokenizer\.model"):
        write_model(rebuilt, path)
    assert path.read_text() == "a diary"
    assert [path] == list(tmp_path.iterdir())


# -------------------------------------------------------------------------------------------------- malformed files


def piece(text: bytes, score: float = 0.0, length: int | None = None) -> bytes:
    return struct.pack("<fi", score, len(text) if length is None else length) + text


GOOD = struct.pack("<i", 6) + piece(b"<unk>") + piece(b"\n<s>\n") + piece(b"\n</s>\n") + piece(b" a", -1.0)
MALFORMED = {
    "empty": (b"", "has 0 bytes, too few"),
    "longest length only": (GOOD[:4], "has 4 bytes, too few"),
    "text cut": (GOOD[:-1], "piece 3 has length 2; it must be 1 to 1"),
    "score cut": (GOOD + b"\0\0", "ends within the score and length of piece 4"),
    "length -1": (GOOD + piece(b"", length=-1), "piece 4 has length -1"),
    "length 0": (GOOD + piece(b""), "piece 4 has length 0"),
    "length absurd": (GOOD + piece(b"b", length=2**31 - 1), "piece 4 has length 2147483647; it must be 1 to 1"),
    "NaN score": (GOOD + piece(b"b", float("nan")), "piece 4 has the score nan; it must be finite"),
    "infinite score": (GOOD + piece(b"b", float("-inf")), "piece 4 has the score -inf"),
    "not UTF-8": (GOOD + piece(b"\xff\xfe"), "piece 4 is not UTF-8"),
    "twice": (GOOD + piece(b" a"), "is already defined"),
    "BOS twice": (GOOD + piece(b"<s>"), "<s> is already defined"),
    "no unknown piece": (GOOD[:4] + GOOD[4 + 13 :], "holds 0 unknown pieces"),
    "zero byte": (GOOD + piece(b"b\0"), "must not include null"),
}


@pytest.mark.parametrize(("data", "message"), MALFORMED.values(), ids=MALFORMED)
def test_refuses_malformed_file(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(LlgenError, match=message) as refusal:
        read(tmp_path, data)
    assert "\n" not in refusal.value.message


def test_good_file_of_the_table_is_good(tmp_path: Path) -> None:
    assert len(read(tmp_path, GOOD)) == 4


@pytest.mark.parametrize("text", ["<0x-1>", "<0x+1>", "<0x 1>", "<0x1>", "<0x001>", "<0xab>", "<0xGG>"])
def test_only_two_hex_digits_make_a_byte(tmp_path: Path, text: str) -> None:
    assert Kind.NORMAL is read(tmp_path, GOOD + piece(text.encode())).pieces[-1].kind


OLDER = {
    "August 2023": (True, lambda byte: chr(byte).encode()),
    "August 2023, one byte each": (True, lambda byte: bytes([byte])),
    "July 2023, no longest length": (False, lambda byte: chr(byte).encode()),
}


@pytest.mark.parametrize(("has_longest", "spelled"), OLDER.values(), ids=OLDER)
def test_files_of_2023_are_read_whose_bytes_are_characters(
    tmp_path: Path, pieces: tuple[Piece, ...], has_longest: bool, spelled: Callable[[int], bytes]
) -> None:
    texts = [spelled(index - 3) if 3 <= index < 259 else each.text.replace("▁", " ").encode()
             for index, each in enumerate(pieces)]  # fmt: skip
    data = b"".join(struct.pack("<fi", each.score, len(text)) + text for each, text in zip(pieces, texts, strict=True))
    path = tmp_path / "tokenizer.bin"
    path.write_bytes(struct.pack("<i", 9) * has_longest + data)
    assert detect(path) is Form.LLAMA2C_TOKENIZER
    assert read_vocabulary(path).pieces == pieces


def test_the_very_first_form_is_named_as_what_it_is(tmp_path: Path, pieces: tuple[Piece, ...]) -> None:
    path = tmp_path / "tokenizer.bin"
    path.write_bytes(b"".join(struct.pack("<i", len(each.text.encode())) + each.text.encode() for each in pieces))
    assert detect(path) is Form.LLAMA2C_TOKENIZER
    with pytest.raises(LlgenError, match="tokenizer of July 2023, without scores"):
        read_vocabulary(path)


def test_whether_a_space_is_put_in_front_is_assumed_aloud_or_told(
    tmp_path: Path, pieces: tuple[Piece, ...], tokenizer_bin: Callable[[tuple[Piece, ...]], bytes]
) -> None:
    path = tmp_path / "tokenizer.bin"
    path.write_bytes(tokenizer_bin(pieces))
    with gathered() as said:
        assert read_vocabulary(path).add_dummy_prefix
    assert said == [
        f"'{path}' does not say whether a space is put in front of a text: it is, as llama2.c does;"
        " --no-space-prefix leaves it out"
    ]
    with gathered() as said:
        assert read_vocabulary(path, space_prefix=True).add_dummy_prefix
        assert not read_vocabulary(path, space_prefix=False).add_dummy_prefix
    assert said == []
    (tmp_path / "t.model").write_bytes(read_vocabulary(path).proto)
    with pytest.raises(UsageError, match="stores whether a space is put in front"):
        read_vocabulary(tmp_path / "t.model", space_prefix=False)


@pytest.mark.parametrize("order", [[0, 1], [1, 0, *range(2, 256)], [*range(9), *range(10, 256)]])
def test_bytes_may_be_missing_or_stand_in_another_order(tmp_path: Path, order: list[int]) -> None:
    path = tmp_path / "tokenizer.bin"
    path.write_bytes(GOOD + b"".join(piece(b"<0x%02X>" % byte) for byte in order))
    with gathered() as said:
        vocabulary = read_vocabulary(path, space_prefix=True)
    missing = f"has no piece for {256 - len(order)} of the 256 bytes: a character that needs one becomes '<unk>'"
    assert [missing in note for note in said] == [True] * (len(order) < 256)
    first = len(vocabulary) - len(order)
    assert vocabulary.byte_base is None
    for byte in range(128):
        if chr(byte) not in " a":
            expected = first + order.index(byte) if byte in order else vocabulary.unknown_id
            assert vocabulary.encode("a" + chr(byte))[-1] == expected


@in_tmp_path
@given(flips=st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 7))), size=st.integers(0, len(GOOD)))
def test_damage_loads_or_is_refused(tmp_path: Path, flips: list[tuple[int, int]], size: int) -> None:
    data = bytearray(GOOD)
    for offset, bit in flips:
        data[offset] ^= 1 << bit
    path = tmp_path / "damaged.bin"
    path.write_bytes(data[:size] or data)
    for reader in (read_tokenizer_bin, read_vocabulary):
        with contextlib.suppress(LlgenError):
            reader(path).encode("a cat")


@in_tmp_path
@given(flips=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 7)), min_size=1, max_size=4))
def test_damaged_model_loads_or_is_refused(rebuilt: Vocabulary, tmp_path: Path, flips: list[tuple[int, int]]) -> None:
    data = bytearray(rebuilt.proto)
    for offset, bit in flips:
        data[-1 - offset % len(data)] ^= 1 << bit
    path = tmp_path / "damaged.model"
    path.write_bytes(data)
    with contextlib.suppress(LlgenError):
        read_vocabulary(path).encode("a cat")


# -------------------------------------------------------------------------------------------------- real tokenizers


@pytest.fixture(scope="module", params=["stories260K/tok512", "stories3M/tok4096"])
def real(request: pytest.FixtureRequest, shared: Path) -> tuple[Vocabulary, Vocabulary]:
    """An original tokenizer.model, and one rebuilt from its tokenizer.bin."""
    stem = shared / "models" / str(request.param)
    return SentencePiece.from_file(stem.with_suffix(".model")), read_tokenizer_bin(stem.with_suffix(".bin"))


def test_rebuilds_real_pieces(real: tuple[Vocabulary, Vocabulary]) -> None:
    original, rebuilt = real
    assert original.pieces == rebuilt.pieces


def test_encodes_stories_as_the_original(real: tuple[Vocabulary, Vocabulary], shared: Path) -> None:
    original, rebuilt = real
    text = (shared / "data" / "tinystories_valid.txt").read_text(encoding="utf-8")
    lines = [" ".join(filter(None, line.split(" "))) for line in text.splitlines()[:5000]]
    assert [original.encode(line) for line in lines] == [rebuilt.encode(line) for line in lines]


@given(words=WORDS)
def test_encodes_anything_as_the_original(real: tuple[Vocabulary, Vocabulary], words: list[str]) -> None:
    original, rebuilt = real
    text = " ".join(words)
    assert original.encode(text) == rebuilt.encode(text)
