"""Sources of every kind, tokens on disk and batches, and what each refuses."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zstandard
from hypothesis import example, given, settings
from hypothesis import strategies as st
from limits import largest_file

from llgen.errors import LlgenError
from llgen.trainer.corpus import stories
from llgen.trainer.data import Batches, Source, TokenStream, open_tokenized, read_documents, tokenize
from llgen.trainer.data.manifest import Manifest
from llgen.trainer.data.shards import _Writer
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


def test_an_end_of_text_within_a_line_parts_too(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(
        "one<|endoftext|>two\n\nstill two<|endoftext|><|endoftext|>\nthree", encoding="utf-8"
    )
    assert read_documents(tmp_path / "a.txt") == ["one", "two\n\nstill two", "three"]


def test_a_separator_of_ones_own_and_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("one\n\ntwo\n--\nthree\n", encoding="utf-8")
    assert list(Source(path, separator="--").documents()) == ["one\n\ntwo", "three"]
    assert list(Source(path, separator="line").documents()) == ["one", "two", "--", "three"]
    assert list(Source(path, separator="").documents()) == ["one", "two\n--\nthree"]


def as_gzip(data: bytes) -> bytes:
    return gzip.compress(data)


def as_zstd_in_two_frames(data: bytes) -> bytes:
    half = len(data) // 2
    return b"".join(zstandard.ZstdCompressor().compress(part) for part in (data[:half], data[half:]))


def as_gzip_in_two_members(data: bytes) -> bytes:
    return gzip.compress(data[:99]) + gzip.compress(data[99:]) + b"\0" * 512  # padded as on a tape


@pytest.mark.parametrize("packed", [bytes, as_gzip, as_gzip_in_two_members, as_zstd_in_two_frames])
@pytest.mark.parametrize("lines", [False, True], ids=["text", "JSON lines"])
def test_every_form_gives_the_same_documents(tmp_path: Path, packed: Callable[[bytes], bytes], lines: bool) -> None:
    if lines:
        text = "".join(json.dumps({"id": 1, "story": {"body": document}}) + "\n" for document in DOCUMENTS)
    else:
        text = "\n<|endoftext|>\n".join(DOCUMENTS)
    path = tmp_path / "corpus"  # no suffix: the content decides
    path.write_bytes(packed(text.encode()))
    source = Source(path, field="story.body" if lines else None)
    assert list(source.documents()) == DOCUMENTS


@settings(max_examples=50)
@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30), max_size=8))
def test_json_lines_give_back_any_text(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    path = tmp_path_factory.mktemp("json") / "a.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\r\n" for text in texts), encoding="utf-8")
    assert list(Source(path, field="text").documents()) == [text.strip() for text in texts if text.strip()]


def test_a_byte_order_mark_hides_nothing(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b'\xef\xbb\xbf{"text": "one"}\n{"text": "two"}\n')
    assert read_documents(tmp_path / "a") == ["one", "two"]


def test_a_separator_says_that_json_is_meant_as_text(tmp_path: Path) -> None:
    (tmp_path / "a").write_text('[{"a": 1}]\n{"b": 2}\n', encoding="utf-8")
    assert list(Source(tmp_path / "a", separator="line").documents()) == ['[{"a": 1}]', '{"b": 2}']


def test_a_sample_comes_from_all_over(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\n\n".join(DOCUMENTS), encoding="utf-8")
    source = Source(tmp_path)
    assert list(source.sample(source.size())) == DOCUMENTS
    assert list(source.sample(source.size() // 10)) == DOCUMENTS[::10]


def test_documents_longer_than_what_is_read_at_once(tmp_path: Path) -> None:
    long = "word " * 500_000
    (tmp_path / "a.txt").write_text(f"{long}\n\nlast", encoding="utf-8")
    assert read_documents(tmp_path / "a.txt") == [long.strip(), "last"]


def test_a_folder_is_its_files_in_order(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("second", encoding="utf-8")
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbffirst\r\nline")
    (tmp_path / "c.jsonl.gz").write_bytes(gzip.compress(b'{"text": "third"}'))
    for name in ("picture.png", "archive.tar.gz", ".hidden.txt", "._a.txt"):
        (tmp_path / name).write_bytes(b"\x89PNG")
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "a.txt").write_text("hidden", encoding="utf-8")
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
    assert Source(path).description["files"][0]["name"] == "a.txt"  # without its folder


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LlgenError, match=r"holds no file whose name ends in \.txt"):
        read_documents(tmp_path)
    with pytest.raises(LlgenError, match=r"cannot read .*: No such file"):
        read_documents(tmp_path / "missing.txt")
    cases = {
        b" \n\n": "holds no text",
        "caf\u00e9".encode("latin-1"): "is not UTF-8: byte 0xE9 at offset 3",
        b"good\nbad \xff": "is not UTF-8: byte 0xFF at offset 9",
        b'{"text": "a"}\n{"text": ': "line 2 is not JSON",
        b'{"title": "a", "body": "b"}': "line 1 has no field 'text'; its fields: title, body",
        b'{"text": 5}': "line 1: the field 'text' holds int, not text",
        b'{"text": "a"}\n' + b"[" * 100_000: "line 2 is not JSON",
        b'{"text": "\\ud83d"}': r"line 1: the text holds \\ud83d, half of a character",
        b'{"text": "a"}\n{"text": "caf\xe9"}': "is not UTF-8: byte 0xE9 at offset 27",
        b'[{"text": "a"}]': "is JSON, but not one object per line",
        b'{\n  "text": "a"\n}': "is JSON, but not one object per line",
        "text".encode("utf-16-le"): "is not text: byte 0x00 at offset 1",
        gzip.compress(b"text " * 1000)[:-10]: "the packed data ends too early",
        gzip.compress(b"text " * 1000)[:-8] + b"\0" * 8: "cannot read .* incorrect data check",
        zstandard.compress(b"text " * 1000)[:-4]: "the packed data ends too early",
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


def test_the_lock_that_a_kill_left_beside_whole_tokens_goes(tmp_path: Path) -> None:
    tokenize(DOCUMENTS, VOCABULARY, tmp_path)
    whole = {entry.name: entry.stat().st_mtime_ns for entry in tmp_path.iterdir()}
    (tmp_path / ".llgen.lock").write_text("`llgen train`, process 1\n", encoding="utf-8")
    tokenize(DOCUMENTS, VOCABULARY, tmp_path)
    assert {entry.name: entry.stat().st_mtime_ns for entry in tmp_path.iterdir()} == whole


def test_too_little_text_and_foreign_tokens_are_refused(tmp_path: Path) -> None:
    data = tokenize([DOCUMENTS[0] * 5], VOCABULARY, tmp_path / "a")
    with pytest.raises(LlgenError, match="tokens held out for evaluation; one sequence takes 513"):
        data.require(512, VOCABULARY)
    with pytest.raises(LlgenError, match="made with another tokenizer"):
        data.require(8, train_tokenizer(DOCUMENTS, 350))
    with pytest.raises(LlgenError, match="there is no text to tokenise"):
        tokenize([], VOCABULARY, tmp_path / "b")


class Killed(Exception):
    """Stands for a kill of the process."""


def killing(patch: pytest.MonkeyPatch, at: int) -> None:
    """End the process in its `at`-th write: half of the bytes are on disk, or the new journal is not in place."""
    count = iter(range(at + 1))

    def append(writer: Any, name: str, data: bytes) -> None:
        last = next(count) == at
        with (writer._directory / name).open("ab") as file:
            file.write(data[: len(data) // 2] if last else data)
        if last:
            raise Killed

    def write(manifest: Manifest, path: Path) -> None:
        if next(count) == at:
            path.with_name(f".{path.name}.new").write_text("{", encoding="utf-8")
            raise Killed
        written(manifest, path)

    written = Manifest.write
    patch.setattr(_Writer, "_append", append)
    patch.setattr(Manifest, "write", write)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@settings(max_examples=20)
@given(
    kills=st.lists(st.integers(0, 70), max_size=3), document=st.integers(0, 199), shard=st.sampled_from([700, 1 << 20])
)
@example(kills=[6, 8], document=0, shard=1 << 20)
@example(kills=[30, 29, 1], document=150, shard=700)
def test_going_on_after_kills_gives_the_same_files(
    tmp_path_factory: pytest.TempPathFactory, kills: list[int], document: int, shard: int
) -> None:
    folder = tmp_path_factory.mktemp("tokens")

    def interrupted() -> Iterator[str]:
        yield from DOCUMENTS[:document]
        raise Killed

    with pytest.MonkeyPatch.context() as fast:
        fast.setattr("llgen.trainer.data.shards._ROUND_CHARACTERS", 5_000)
        fast.setattr(os, "fsync", lambda descriptor: None)  # fsync matters only for power failures
        with pytest.raises(Killed):
            tokenize(interrupted(), VOCABULARY, folder / "broken", shard_tokens=shard)
        for kill in kills:
            with pytest.MonkeyPatch.context() as patch, suppress(Killed):  # fewer writes than `at` may be left
                killing(patch, kill)
                tokenize(DOCUMENTS, VOCABULARY, folder / "broken", shard_tokens=shard)
        tokenize(DOCUMENTS, VOCABULARY, folder / "broken", shard_tokens=shard)
        tokenize(DOCUMENTS, VOCABULARY, folder / "whole", shard_tokens=shard)
    broken, whole_files = contents(folder / "broken"), contents(folder / "whole")
    broken.pop(".unfinished.json.new", None)
    assert broken == whole_files
    shutil.rmtree(folder)


def test_a_full_disk_is_said_and_the_same_command_goes_on(tmp_path: Path) -> None:
    with (
        largest_file(3000),
        pytest.raises(LlgenError, match=r"cannot write '.*train-00000\.bin': a file may have 3,000"),
    ):
        tokenize(DOCUMENTS, VOCABULARY, tmp_path / "broken")
    tokenize(DOCUMENTS, VOCABULARY, tmp_path / "broken")
    tokenize(DOCUMENTS, VOCABULARY, tmp_path / "whole")
    assert contents(tmp_path / "broken") == contents(tmp_path / "whole")


def tokenize_until_killed(folder: Path) -> None:
    """Begin with the documents, and be ended after 150 of them."""

    def interrupted() -> Iterator[str]:
        yield from DOCUMENTS[:150]
        raise Killed

    with pytest.raises(Killed):
        tokenize(interrupted(), VOCABULARY, folder)


def test_going_on_tokenises_only_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llgen.trainer.data.shards._ROUND_CHARACTERS", 5_000)
    tokenize_until_killed(tmp_path)
    added: list[str] = []
    add = _Writer.add
    monkeypatch.setattr(_Writer, "add", lambda self, name, *rest: (added.append(name), add(self, name, *rest))[1])
    tokenize(DOCUMENTS, VOCABULARY, tmp_path)
    assert 50 <= len(added) < 80


@pytest.mark.parametrize("damage", [lambda data: data[:-3], lambda data: b"\7" + data[1:]], ids=["shorter", "other"])
def test_a_journal_that_the_files_belie_is_not_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable[[bytes], bytes]
) -> None:
    monkeypatch.setattr("llgen.trainer.data.shards._ROUND_CHARACTERS", 5_000)
    tokenize_until_killed(tmp_path)
    shard = tmp_path / "train-00000.bin"
    shard.write_bytes(damage(shard.read_bytes()))
    data = tokenize(DOCUMENTS, VOCABULARY, tmp_path)
    assert flat(data.held_out) == tokens_of(DOCUMENTS[19::20])
    open_tokenized(tmp_path, verify=True)


def test_one_process_writes_at_a_time_and_the_others_take_what_it_wrote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished = []
    finish = _Writer.finish
    monkeypatch.setattr(_Writer, "finish", lambda writer: (finished.append(writer), finish(writer)))
    with ThreadPoolExecutor(3) as pool:
        parts = list(pool.map(lambda _: tokenize(DOCUMENTS, VOCABULARY, tmp_path), range(3)))
    assert len(finished) == 1
    assert {len(part.train) for part in parts} == {len(parts[0].train)}


def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    for name in ("train-notes.bin", "train-1.bin", "notes.txt"):
        (tmp_path / name).write_bytes(b"mine")
    (tmp_path / "train-00007.bin").write_bytes(b"of tokens that were there before")
    tokenize(DOCUMENTS, VOCABULARY, tmp_path)
    assert all((tmp_path / name).read_bytes() == b"mine" for name in ("train-notes.bin", "train-1.bin", "notes.txt"))
    assert not (tmp_path / "train-00007.bin").exists()


def test_a_manifest_tells_the_source_and_the_settings(tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("\n\n".join(DOCUMENTS), encoding="utf-8")
    told: list[int] = []
    source = Source(tmp_path / "texts")
    tokenize(source, VOCABULARY, tmp_path / "tokens", held_out=0.1, told=told.append)
    assert told[-1] == source.size()
    manifest = json.loads((tmp_path / "tokens" / "manifest.json").read_text(encoding="utf-8"))
    assert [file["name"] for file in manifest["origin"]["files"]] == ["a.txt"]
    assert (manifest["vocab_size"], manifest["held_out"], manifest["dtype"]) == (400, 0.1, "<u2")
    assert manifest["parts"]["held_out"]["documents"] == 20
    assert str(tmp_path) not in json.dumps(manifest)


def test_a_tokenizer_without_bos_is_refused(tmp_path: Path) -> None:
    without = replace(VOCABULARY, bos_id=-1)
    with pytest.raises(LlgenError, match="has no BOS piece"):
        tokenize(DOCUMENTS, without, tmp_path)


@settings(max_examples=30)
@given(texts=st.lists(st.sampled_from(DOCUMENTS[:30]), min_size=1, max_size=60), every=st.integers(2, 30))
def test_each_document_is_in_one_part(tmp_path_factory: pytest.TempPathFactory, texts: list[str], every: int) -> None:
    data = tokenize(texts, VOCABULARY, tmp_path_factory.mktemp("tokens") / "a", held_out=1 / every, shard_tokens=500)
    parts = [[part.tolist() for part in stream.documents()] for stream in (data.train, data.held_out)]
    if len(texts) >= every:
        held_out = [index % every == every - 1 for index in range(len(texts))]
        assert parts == [
            [tokens_of([t]) for t, out in zip(texts, held_out, strict=True) if out is side] for side in (False, True)
        ]
    else:
        spelled = ["".join(VOCABULARY.decode(ids[1:]) for ids in part) for part in parts]
        assert "".join(spelled).replace(" ", "") == "".join(texts).replace(" ", "")


def test_finished_tokens_are_used_again_and_others_replaced(tmp_path: Path) -> None:
    first = tokenize(DOCUMENTS, VOCABULARY, tmp_path, key="a")
    again = tokenize(iter(()), VOCABULARY, tmp_path, key="a")  # would fail if it read the documents
    assert flat(again.train) == flat(first.train)
    other = tokenize(DOCUMENTS[:50], VOCABULARY, tmp_path, key="b")
    assert flat(other.held_out) == tokens_of(DOCUMENTS[19:50:20])


def test_a_text_that_cannot_be_read_leaves_old_tokens_alone(tmp_path: Path) -> None:
    tokenize(DOCUMENTS, VOCABULARY, tmp_path)
    before = contents(tmp_path)
    (tmp_path / "bad.txt").write_bytes(b"text \xff")
    with pytest.raises(LlgenError, match="is not UTF-8"):
        tokenize(Source(tmp_path / "bad.txt"), VOCABULARY, tmp_path)
    (tmp_path / "bad.txt").unlink()
    assert contents(tmp_path) == before


def test_damaged_tokens_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LlgenError, match="does not hold finished tokens"):
        open_tokenized(tmp_path)
    tokenize(DOCUMENTS, VOCABULARY, tmp_path)
    shard = tmp_path / "train-00000.bin"
    shard.write_bytes(shard.read_bytes()[:-2])
    with pytest.raises(LlgenError, match=r"train-00000\.bin has \d+ bytes, not \d+"):
        open_tokenized(tmp_path)
    tokenize(DOCUMENTS, VOCABULARY, tmp_path)  # writes them again
    shard.write_bytes(b"\7" + shard.read_bytes()[1:])
    with pytest.raises(LlgenError, match=r"train-00000\.bin was changed since it was written"):
        open_tokenized(tmp_path, verify=True)
    tokenize(DOCUMENTS, VOCABULARY, tmp_path)
    open_tokenized(tmp_path, verify=True)
    manifest = tmp_path / "manifest.json"
    edited = manifest.read_text(encoding="utf-8").replace("0.05", "0.5")
    for content, message in (
        ('{"format": 99}', "its format is 99, not 1"),
        (edited, "changed by hand"),
        ("[]", "list"),
    ):
        manifest.write_text(content, encoding="utf-8")
        with pytest.raises(LlgenError, match=message):
            open_tokenized(tmp_path)
    shard.unlink()
    tokenize(DOCUMENTS, VOCABULARY, tmp_path)
    shard.unlink()
    with pytest.raises(LlgenError, match=r"there is no train-00000\.bin"):
        open_tokenized(tmp_path)


@settings(max_examples=100)
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


@settings(max_examples=50)
@given(
    world=st.integers(1, 8), each=st.integers(1, 3), aligned=st.sampled_from([0.0, 0.4, 1.0]), seed=st.integers(0, 99)
)
def test_processes_share_the_batch_that_one_would_draw(world: int, each: int, aligned: float, seed: int) -> None:
    tokens = stream(list(range(1000)), shard=130, starts=(0, 200, 700, 995))
    alone = Batches(tokens, seed, aligned=aligned)
    among = [Batches(tokens, seed, aligned=aligned, rank=rank, world=world) for rank in range(world)]
    for _ in range(2):
        inputs, targets = alone.draw(world * each, 10)
        parts = [batches.draw(world * each, 10) for batches in among]
        assert torch.equal(torch.stack([part for part, _ in parts], dim=1).flatten(0, 1), inputs)
        assert torch.equal(torch.stack([part for _, part in parts], dim=1).flatten(0, 1), targets)
    assert all(torch.equal(batches.state, alone.state) for batches in among)


def test_aligned_windows_begin_with_documents() -> None:
    starts = tuple(range(0, 1000, 37))
    batches = Batches(stream(list(range(1000)), starts=starts), seed=3, aligned=0.5)
    begins = [first in starts for _ in range(200) for first in batches.draw(2, 16)[0][:, 0].tolist()]
    assert 0.45 < sum(begins) / len(begins) < 0.6
    assert max(Batches(stream(list(range(1000)), starts=starts), 3, aligned=1.0).draw(99, 500)[0][:, 0]) == 13 * 37


def test_a_batch_of_a_real_text(tmp_path: Path) -> None:
    data = tokenize(DOCUMENTS, VOCABULARY, tmp_path)
    inputs, _ = Batches(data.train, seed=1, aligned=1.0).draw(3, 32)
    assert inputs[:, 0].tolist() == [1, 1, 1]
    assert all(any(VOCABULARY.decode(row[1:].tolist())[:40] in text for text in DOCUMENTS) for row in inputs)
