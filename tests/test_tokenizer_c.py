"""The generated tokenizer against SentencePiece."""

import codecs
import random
import shutil
import subprocess
from dataclasses import replace

import pytest
from generated import Library, write_files
from hypothesis import given, settings
from hypothesis import strategies as st
from models import ODD, random_checkpoint, trained_vocabulary
from sentencepiece import sentencepiece_model_pb2 as schema

from llgen.codegen.compile.toolchain import host_cc
from llgen.codegen.model.sentence_piece import SentencePiece
from llgen.codegen.model.vocabulary import Kind
from llgen.codegen.pack.sentence_piece_tables import sentence_piece_tables as tabulate
from llgen.codegen.render.pipeline import generate
from llgen.targets.schema import load_target

VARIANTS = {
    "bytes": {},
    "unknown": {"byte_fallback": False},
    "keeps spaces": {"remove_extra_whitespaces": False},
    "no dummy prefix": {"add_dummy_prefix": False, "remove_extra_whitespaces": False},
    "spaces inside pieces": {"split_by_whitespace": False},
}


def with_vocabulary(vocabulary: SentencePiece, folder) -> Library:
    config = ODD.__class__(**{**ODD.__dict__, "vocab_size": len(vocabulary)})
    return Library(random_checkpoint(config, vocabulary=vocabulary), folder)


def crafted_vocabulary() -> SentencePiece:
    """Scores in another order than ids, ties among them, and pieces whose characters are no pieces."""
    model = schema.ModelProto.FromString(trained_vocabulary().proto)
    normal = [piece for piece in model.pieces if piece.type == Kind.NORMAL]
    generator = random.Random(7)
    for piece in normal:
        piece.score = generator.randrange(20)
    for index, piece in enumerate([piece for piece in normal if piece.piece in ("▁", "e", "o", "ä")]):
        piece.piece = chr(0xE000 + index)
    return SentencePiece.from_proto(model.SerializeToString())


def with_rare_pieces(**options: object) -> SentencePiece:
    """Pieces that text is merged through and never becomes, pieces that it is cut around, and bytes without a piece."""
    model = schema.ModelProto.FromString(trained_vocabulary(**options).proto)
    by_text = {piece.piece: piece for piece in model.pieces}
    for text in ("▁th", "▁the", "ox", "o", "ab", "Bä", "▁fox"):
        if text in by_text:
            by_text[text].type = int(Kind.UNUSED)
    for text in ("▁▁", "\n", "<x>", "<x>y", "in", "a▁b", "é", "中文", " spaced", "\ufffd"):
        if text in by_text:
            by_text[text].type = int(Kind.USER_DEFINED)
        else:
            model.pieces.add(piece=text, score=0.0, type=int(Kind.USER_DEFINED))
    model.pieces.add(piece="the fox", score=0.0, type=int(Kind.UNUSED))
    return SentencePiece.from_proto(model.SerializeToString())


def with_fewer_bytes() -> SentencePiece:
    """A tab is a piece of its own in place of a byte, two other bytes are none at all, and one stands elsewhere."""
    model = schema.ModelProto.FromString(trained_vocabulary().proto)
    by_text = {piece.piece: piece for piece in model.pieces}
    by_text["<0x09>"].piece, by_text["<0x09>"].type = "[tab]", int(Kind.NORMAL)
    for byte in ("<0xE4>", "<0x9F>"):
        by_text[byte].piece, by_text[byte].type = f"was {byte}", int(Kind.CONTROL)
    model.pieces.add(piece="<0x41>", score=0.0, type=int(Kind.BYTE))
    by_text["<0x41>"].piece, by_text["<0x41>"].type = "was A", int(Kind.CONTROL)
    return SentencePiece.from_proto(model.SerializeToString())


CRAFTED = {
    "crafted": crafted_vocabulary,
    "rare pieces": with_rare_pieces,
    "rare pieces, keeps spaces": lambda: with_rare_pieces(remove_extra_whitespaces=False),
    "rare pieces, unknown": lambda: with_rare_pieces(byte_fallback=False),
    "fewer bytes": with_fewer_bytes,
    "padding": lambda: trained_vocabulary().padded(450),
}


@pytest.fixture(scope="module", params=[*VARIANTS, *CRAFTED])
def library(request, tmp_path_factory):
    make = CRAFTED.get(request.param, lambda: trained_vocabulary(**VARIANTS[request.param]))
    return with_vocabulary(make(), tmp_path_factory.mktemp("tokenizer"))


def test_the_variants_are_what_they_are_for():
    assert tabulate(trained_vocabulary()).words_split
    assert tabulate(trained_vocabulary()).ranks is None
    assert not tabulate(trained_vocabulary(split_by_whitespace=False)).words_split
    crafted = tabulate(crafted_vocabulary())
    assert crafted.ranks is not None
    assert crafted.texts[-4:] == (b" ", b"e", b"o", "ä".encode())


@pytest.fixture(scope="module", params=["stories260K/tok512", "stories3M/tok4096", "open_llama_3b"])
def real_library(request, tmp_path_factory, shared):
    folder = shared / ("models" if "/" in request.param else "tokenizers")
    vocabulary = SentencePiece.from_file(folder / f"{request.param}.model")
    return with_vocabulary(vocabulary, tmp_path_factory.mktemp("real"))


# Text near what the tokenizer knows, any text, and bytes that are no text.
WORDS = st.lists(
    st.sampled_from(
        [
            "fox",
            "the",
            " ",
            "  ",
            "▁",
            "é",
            "😀",
            "中",
            "\n",
            "\t",
            "Bär",
            "a",
            "1",
            "\xa0",
            "<s>",
            "<0x41>",
            "…",
            "<x>",
        ]
    )
    | st.sampled_from(
        ["<x>y", "in", "a b", "the fox", "o", "ab", "th", "A", "文", "中文", "\ufffd", "[PAD421]", " spaced"]
    ),
    max_size=20,
).map("".join)
TEXTS = st.one_of(WORDS, st.text(max_size=40)).map(lambda text: text.encode("utf-8", "surrogatepass"))
BYTES = st.one_of(TEXTS, st.binary(max_size=30), st.tuples(TEXTS, st.binary(max_size=4), TEXTS).map(b"".join))


def same_ids(library: Library, text: bytes) -> None:
    assert library.encode(text) == library.generation.model.vocabulary.encode(text)


@settings(max_examples=600)
@given(BYTES)
def test_ids_are_sentencepieces(library, text):
    same_ids(library, text)


@settings(max_examples=400)
@given(BYTES)
def test_ids_are_sentencepieces_with_real_vocabularies(real_library, text):
    same_ids(real_library, text)


def test_ids_of_real_stories(real_library, shared):
    text = (shared / "data" / "tinystories_valid.txt").read_text(encoding="utf-8")
    for story in text.split("<|endoftext|>")[:300]:
        same_ids(real_library, story.encode())


@pytest.mark.parametrize(
    "text", [b"", b" ", b"   ", "▁".encode(), " ▁ ".encode(), b"\0", b"a\0b", b"\xe2\x96", b"a" * 5000]
)
def test_ids_at_the_edges(library, text):
    same_ids(library, text)


def test_a_long_word_takes_no_quadratic_time(library):
    same_ids(library, b"thefoxtheriver" * 4000)


@settings(max_examples=200)
@given(BYTES, st.integers(0, 12))
def test_too_little_room_is_said_and_nothing_is_written_beyond(library, text, room):
    full = library.encode(text)
    found = library.encode(text, capacity=room)
    assert found in (full, -4)
    assert len(full) <= room or found == -4


def test_of_leading_spaces_one_is_dropped_or_all(library):
    vocabulary = library.generation.model.vocabulary
    space, word = vocabulary.processor.piece_to_id("▁"), vocabulary.processor.piece_to_id("▁the")
    for ids in ([space, word], [space, space, word], [1, space, word], [space], [word, space]):
        assert b"".join(library.write(ids)).decode() == vocabulary.decode(ids)


def test_null_pointers_and_unknown_tokens(library):
    encode, decode = library.function("encode"), library.function("decode")
    assert encode(None, 3, None, 0) == -1
    assert encode(None, 0, None, 0) == 0
    assert encode(b"a", 1, None, 5) == -1
    assert decode(0, 1, None, 5) == -1
    vocab = library.generation.model.config.vocab_size
    for token in (-1, vocab, 2**31 - 1, -(2**31)):
        assert library.decode(0, token) == -2
    assert library.decode(vocab, 5) == -2


def test_decode_says_when_the_buffer_is_too_small(library):
    vocabulary = library.generation.model.vocabulary
    longest = max(range(len(vocabulary)), key=lambda i: len(library.decode(5, i)))
    text = library.decode(5, longest)
    assert library.decode(5, longest, capacity=len(text)) == text
    assert library.decode(5, longest, capacity=len(text) - 1) == -4


def stream(library: Library, ids: list[int]) -> bytes:
    """What a program that follows the header's rule for `previous` puts together."""
    keeps = not library.generation.model.vocabulary.remove_extra_whitespaces
    written, started = b"", False
    for token in ids:
        whole, text = library.decode(token, token), library.decode(token if started else -1, token)
        written += text
        started = bool(written) or (keeps and text != whole)  # of several leading spaces one is dropped, or all
    return written


def test_each_piece_by_itself_is_decoded_as_by_sentencepiece(library):
    vocabulary = library.generation.model.vocabulary
    for token, piece in enumerate(vocabulary.pieces):
        if piece.kind is not Kind.BYTE:
            assert stream(library, [token]).decode() == vocabulary.decode([token]), piece


@settings(max_examples=300)
@given(st.data())
def test_decoding_is_sentencepieces(library, data):
    vocabulary = library.generation.model.vocabulary
    ids = data.draw(st.lists(st.integers(0, len(vocabulary) - 1), max_size=30))
    written = stream(library, ids)
    assert written.decode("utf-8", errors="replace").count("�") <= vocabulary.decode(ids).count("�")
    if all(vocabulary.pieces[token].kind is not Kind.BYTE for token in ids):
        assert written.decode() == vocabulary.decode(ids)


def test_a_start_token_that_is_text_leaves_the_space_behind_it(tmp_path):
    vocabulary = trained_vocabulary(byte_fallback=False, bos_id=-1, eos_id=-1)
    config = replace(ODD, vocab_size=len(vocabulary), bos_id=None, end_ids=())
    assert (config.start_id, vocabulary.unknown_id) == (0, 0)
    library = Library(random_checkpoint(config, vocabulary=vocabulary), tmp_path)
    ids = vocabulary.encode("a Q the fox")
    assert b"".join(map(library.decode, [-1, *ids], ids)).decode() == vocabulary.decode(ids) == "a  \u2047  the fox"
    continued = set()
    for prompt in (b"a Q", b"the Q", b"fox Q", b"river Q", b"ball Q", b"little Q", b"there Q", b"old mill Q"):
        library.reset()
        written = b"".join(library.generate(prompt, 8)[1])
        tokens = vocabulary.encode(prompt.decode())
        assert tokens[-1] == 0
        generated = library.tokens()[len(tokens) :]
        continued.add(vocabulary.pieces[generated[0]].text[0])
        assert vocabulary.decode([*tokens, *generated]) == vocabulary.decode(tokens) + written.decode()
    assert "\u2581" in continued


def test_text_comes_back(library):
    vocabulary = library.generation.model.vocabulary
    text = "The fox — “naïve” 😀 中文 – asked: why?" if -1 not in vocabulary.byte_ids else "The fox — “naïve”"
    again = stream(library, library.encode(text.encode())).decode()
    assert again == vocabulary.decode(vocabulary.encode(text))
    if vocabulary.byte_base is not None and "▁" in vocabulary.processor.id_to_piece(list(range(len(vocabulary)))):
        assert again == text


# ------------------------------------------------------------------------------------------------------- generating


@settings(max_examples=150)
@given(st.data())
def test_generated_pieces_are_whole_characters_and_the_text_sentencepieces(library, data):
    """What generate's writer emits, for tokens that no model would choose."""
    vocabulary = library.generation.model.vocabulary
    first = vocabulary.byte_base or 0
    byte_tokens = st.integers(first, first + 255) if vocabulary.byte_base is not None else st.nothing()
    token = st.one_of(byte_tokens, st.integers(3, len(vocabulary) - 1))
    ids = data.draw(st.lists(token, min_size=1, max_size=20))
    written = library.write(ids)
    decoder = codecs.getincrementaldecoder("utf-8")("strict")
    for piece in written:
        decoder.decode(piece)
        assert decoder.getstate()[0] == b""  # no character is split
    assert b"".join(written).decode() == vocabulary.decode(ids)


# --------------------------------------------------------------------------------------------------------- warnings


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("name", CRAFTED)
def test_no_warning_for_rare_pieces(name, compiler, tmp_path):
    found = shutil.which(compiler)
    command = [found] if found else host_cc()
    if compiler == "gcc" and not found:
        pytest.skip("gcc is not installed; apt-get install gcc")
    vocabulary = CRAFTED[name]()
    config = replace(ODD, vocab_size=len(vocabulary))
    generation = generate(random_checkpoint(config, vocabulary=vocabulary), load_target("generic"))
    write_files(generation, tmp_path)
    flags = (
        "-std=c11 -O1 -c -Wall -Wextra -Wpedantic -Wconversion -Wsign-conversion -Wshadow -Wcast-qual -Wundef -Werror"
    )
    sources = ["odd_tokenizer.c", "odd.c", "main.c"]
    for source in sources:
        subprocess.run([*command, *flags.split(), "-ffp-contract=off", source, "-o", "x.o"], cwd=tmp_path, check=True)
