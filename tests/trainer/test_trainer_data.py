"""From sources of every kind to tokens on disk to batches, and what each of them refuses."""

from __future__ import annotations

import gzip
import io
import json
import shutil
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from llgen.codegen.errors import LlgenError
from llgen.trainer.corpus import stories
from llgen.trainer.data import Batches, Source, TokenizedData, TokenStream, open_tokenized, read_documents, tokenize
from llgen.trainer.tokenizer import train_tokenizer

DOCUMENTS = list(islice(stories(3), 200))
VOCABULARY = train_tokenizer(DOCUMENTS, 400)


def stream(tokens: list[int], *, shard: int = 10**9, starts: tuple[int, ...] = (0,)) -> TokenStream:
    shards = [np.array(tokens[at : at + shard], dtype=np.uint16) for at in range(0, len(tokens), shard)]
    return TokenStream(tuple(shards), np.array(starts, dtype=np.uint64), 0)


# ---------------------------------------------------------------------------------------------------------- sources


def test_blank_lines_part_documents(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\ntwo\n\n \n\nthree\n", encoding="utf-8")
    assert read_documents(tmp_path / "a.txt") == ["one\ntwo", "three"]


def test_a_separator_line_leaves_blank_lines_alone(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\n\ntwo\n<|endoftext|>\nthree\n<|endoftext|>\n", encoding="utf-8")
    assert read_documents(tmp_path / "a.txt") == ["one\n\ntwo", "three"]


def test_a_separator_of_ones_own_and_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("one\n\ntwo\n--\nthree\n", encoding="utf-8")
    assert list(Source(path, separator="--").documents()) == ["one\n\ntwo", "three"]
    assert list(Source(path, separator="line").documents()) == ["one", "two", "--", "three"]


def as_gzip(data: bytes) -> bytes:
    return gzip.compress(data)


def as_zstd_in_two_frames(data: bytes) -> bytes:
    half = len(data) // 2
    return b"".join(zstandard.ZstdCompressor().compress(part) for part in (data[:half], data[half:]))


@pytest.mark.parametrize("packed", [bytes, as_gzip, as_zstd_in_two_frames])
@pytest.mark.parametrize("lines", [False, True], ids=["text", "JSON lines"])
def test_every_form_gives_the_same_documents(tmp_path: Path, packed: object, lines: bool) -> None:
    if lines:
        text = "".join(json.dumps({"id": 1, "story": {"body": document}}) + "\n" for document in DOCUMENTS)
    else:
        text = "\n<|endoftext|>\n".join(DOCUMENTS)
    path = tmp_path / "corpus"  # no suffix: the content decides
    path.write_bytes(packed(text.encode()))  # type: ignore[operator]
    source = Source(path, field="story.body" if lines else None)
    assert list(source.documents()) == DOCUMENTS


def test_documents_longer_than_what_is_read_at_once(tmp_path: Path) -> None:
    long = "word " * 500_000
    (tmp_path / "a.txt").write_text(f"{long}\n\nlast", encoding="utf-8")
    assert read_documents(tmp_path / "a.txt") == [long.strip(), "last"]


def test_a_folder_is_its_files_in_order(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("second", encoding="utf-8")
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbffirst\r\nline")
    (tmp_path / "c.jsonl.gz").write_bytes(gzip.compress(b'{"text": "third"}'))
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    assert read_documents(tmp_path) == ["first\nline", "second", "third"]


def test_progress_reaches_the_size_of_the_source(tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("\n\n".join(DOCUMENTS), encoding="utf-8")
    told: list[int] = []
    source = Source(tmp_path)
    list(source.documents(told.append))
    assert told == sorted(told)
    assert told[-1] == source.size()


def test_a_fingerprint_follows_content_and_settings(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("one", encoding="utf-8")
    before = Source(path).fingerprint()
    assert Source(path).fingerprint() == before
    assert Source(path, separator="line").fingerprint() != before
    path.write_text("two", encoding="utf-8")
    assert Source(path).fingerprint() != before


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LlgenError, match=r"holds no file that ends in \.txt"):
        read_documents(tmp_path)
    with pytest.raises(LlgenError, match=r"cannot read .*: No such file"):
        read_documents(tmp_path / "missing.txt")
    cases = {
        b" \n\n": "holds no text",
        "caf\u00e9".encode("latin-1"): "is not UTF-8: byte 0xE9 at offset 3",
        b"good\nbad \xff": "is not UTF-8: byte 0xFF at offset 9",
        b'{"text": "a"}\n{"text": ': "line 2 is not JSON",
        b'{"title": "a", "body": "b"}': "line 1 has no field 'text'; there is: title, body",
        b'{"text": 5}': "line 1: the field 'text' holds int, not text",
        gzip.compress(b"text " * 1000)[:-10]: "cannot read",
        zstandard.compress(b"text " * 1000)[:6] + b"\xff" * 9: "cannot read",
    }
    for content, message in cases.items():
        (tmp_path / "a.txt").write_bytes(content)
        with pytest.raises(LlgenError, match=message):
            read_documents(tmp_path / "a.txt")


# ----------------------------------------------------------------------------------------------------------- tokens


def tokens_of(documents: list[str]) -> list[int]:
    return [token for text in documents for token in (1, *VOCABULARY.encode(text))]


def flat(part: TokenStream) -> list[int]:
    return [int(token) for shard in part.shards for token in shard]


def test_every_twentieth_document_is_held_out(tmp_path: Path) -> None:
    data = tokenize(DOCUMENTS, VOCABULARY, tmp_path)
    train = [text for index, text in enumerate(DOCUMENTS) if index % 20 != 19]
    assert flat(data.held_out) == tokens_of(DOCUMENTS[19::20])
    assert flat(data.train) == tokens_of(train)
    assert [part.tolist() for part in data.train.documents()] == [tokens_of([text]) for text in train]
    assert data.train.text_bytes == sum(len(text.encode()) for text in train)


def test_one_long_document_lends_its_end(tmp_path: Path) -> None:
    data = tokenize([" ".join(DOCUMENTS[:30])], VOCABULARY, tmp_path)
    assert 0.05 < len(data.held_out) / len(data.train) < 0.2


def test_too_little_text_and_foreign_tokens_are_refused(tmp_path: Path) -> None:
    data = tokenize([DOCUMENTS[0] * 5], VOCABULARY, tmp_path / "a")
    with pytest.raises(LlgenError, match="tokens held out for evaluation; one sequence takes 513"):
        data.require(512, VOCABULARY)
    with pytest.raises(LlgenError, match="made with another tokenizer"):
        data.require(8, train_tokenizer(DOCUMENTS, 350))
    with pytest.raises(LlgenError, match="there is no text to tokenise"):
        tokenize([], VOCABULARY, tmp_path / "b")


class Killed(Exception):
    """Stands for the end of the process."""


@settings(max_examples=20, deadline=None)
@given(kill_at=st.integers(0, 199), shard=st.sampled_from([64, 1000, 1 << 20]))
def test_going_on_after_a_kill_gives_the_same_files(
    tmp_path_factory: pytest.TempPathFactory, kill_at: int, shard: int
) -> None:
    folder = tmp_path_factory.mktemp("tokens")

    def interrupted() -> Iterator[str]:
        for index, text in enumerate(DOCUMENTS):
            if index == kill_at:
                raise Killed
            yield text

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("llgen.trainer.data.shards._ROUND_DOCUMENTS", 16)
        with pytest.raises(Killed):
            tokenize(interrupted(), VOCABULARY, folder / "broken", shard_tokens=shard)
        with (folder / "broken" / "train-00000.bin").open("ab") as file:
            file.write(b"half a rou")  # written, but not yet vouched for
        tokenize(DOCUMENTS, VOCABULARY, folder / "broken", shard_tokens=shard)
        tokenize(DOCUMENTS, VOCABULARY, folder / "whole", shard_tokens=shard)
    broken, whole = (
        {path.name: path.read_bytes() for path in (folder / name).iterdir()} for name in ("broken", "whole")
    )
    assert broken == whole
    shutil.rmtree(folder)


def test_finished_tokens_are_used_again_and_others_replaced(tmp_path: Path) -> None:
    first = tokenize(DOCUMENTS, VOCABULARY, tmp_path, key="a")
    again = tokenize(iter(()), VOCABULARY, tmp_path, key="a")  # would fail if it looked at the documents
    assert flat(again.train) == flat(first.train)
    other = tokenize(DOCUMENTS[:50], VOCABULARY, tmp_path, key="b")
    assert flat(other.held_out) == tokens_of(DOCUMENTS[19:50:20])


def test_damaged_tokens_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LlgenError, match="does not hold finished tokens"):
        open_tokenized(tmp_path)
    tokenize(DOCUMENTS, VOCABULARY, tmp_path)
    shard = tmp_path / "train-00000.bin"
    shard.write_bytes(shard.read_bytes()[:-2])
    with pytest.raises(LlgenError, match=r"train-00000\.bin has \d+ bytes, not \d+"):
        open_tokenized(tmp_path)
    (tmp_path / "manifest.json").write_text('{"format": 99}', encoding="utf-8")
    with pytest.raises(LlgenError, match="its format is 99, not 1"):
        open_tokenized(tmp_path)


@settings(max_examples=100, deadline=None)
@given(st.data(), st.integers(1, 40))
def test_windows_do_not_see_the_borders_of_shards(data: st.DataObject, shard: int) -> None:
    tokens = data.draw(st.lists(st.integers(0, 999), min_size=1, max_size=120))
    length = data.draw(st.integers(1, len(tokens)))
    starts = data.draw(st.lists(st.integers(0, len(tokens) - length), min_size=1, max_size=5))
    windows = stream(tokens, shard=shard).window(np.array(starts), length)
    assert windows.tolist() == [tokens[start : start + length] for start in starts]


# ---------------------------------------------------------------------------------------------------------- batches


def test_targets_follow_inputs() -> None:
    inputs, targets = Batches(stream(list(range(100))), seed=1).draw(4, 10)
    assert inputs.shape == targets.shape == (4, 10)
    assert torch.equal(inputs + 1, targets)


def test_the_last_window_can_be_drawn() -> None:
    batches = Batches(stream(list(range(11))), seed=1)
    assert batches.draw(2, 10)[1][:, -1].tolist() == [10, 10]


def test_state_continues_the_sequence() -> None:
    tokens = stream(list(range(1000)))
    first = Batches(tokens, seed=1)
    first.draw(4, 10)
    second = Batches(tokens, seed=99)
    second.state = first.state
    for _ in range(3):
        assert torch.equal(first.draw(4, 10)[0], second.draw(4, 10)[0])


@pytest.mark.parametrize("world", [2, 3, 6])
def test_processes_share_the_batch_that_one_would_draw(world: int) -> None:
    tokens = stream(list(range(1000)))
    whole = Batches(tokens, seed=7).draw(6, 10)[0]
    parts = [Batches(tokens, seed=7, rank=rank, world=world).draw(6, 10)[0] for rank in range(world)]
    assert torch.equal(torch.stack(parts, dim=1).flatten(0, 1), whole)


def test_aligned_windows_begin_with_documents() -> None:
    starts = tuple(range(0, 1000, 37))
    batches = Batches(stream(list(range(1000)), starts=starts), seed=3, aligned=0.5)
    for _ in range(20):
        inputs, _ = batches.draw(8, 16)
        assert all(first in starts for first in inputs[:4, 0].tolist())


def test_a_batch_of_a_real_text(tmp_path: Path) -> None:
    data: TokenizedData = tokenize(DOCUMENTS, VOCABULARY, tmp_path)
    inputs, _ = Batches(data.train, seed=1, aligned=1.0).draw(3, 32)
    assert inputs[:, 0].tolist() == [1, 1, 1]
    assert io.StringIO(VOCABULARY.decode(inputs[0].tolist())).readline()
