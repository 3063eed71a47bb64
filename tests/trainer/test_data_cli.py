"""`llgen data`, `llgen tokenizer` and `llgen eval` as a user calls them; downloads from a local server."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from commands import invoke
from models import MIXED, random_checkpoint, trained_vocabulary
from runs import STORIES, tiny_config

from llgen.codegen.cli.data import command as data
from llgen.codegen.cli.evaluate import command as evaluate
from llgen.codegen.cli.quantize import command as quantize
from llgen.codegen.cli.tokenizer import command as tokenizer
from llgen.codegen.formats.hf.directory import load_checkpoint, save_checkpoint
from llgen.codegen.model.vocabulary import Kind, Piece
from llgen.codegen.quantise.quantized import load_quantized
from llgen.errors import LlgenError
from llgen.trainer.data import tinystories
from llgen.trainer.data.download import download
from llgen.trainer.data.tinystories import RemoteFile
from llgen.trainer.export import export_run
from llgen.trainer.run import train


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "stories.txt"
    path.write_text("\n\n".join(story.replace("\n", " ") for story in STORIES), encoding="utf-8")
    return path


# ------------------------------------------------------------------------------------------------------------ data


def test_prepared_data_is_trained_on(text: Path, tmp_path: Path) -> None:
    made = json.loads(invoke(data, "prepare", text, "-o", tmp_path / "tokens", "--vocab-size", "320", "--json").stdout)
    assert (made["train"]["documents"], made["held_out"]["documents"], made["vocab_size"]) == (95, 5, 320)
    assert json.loads(invoke(data, "show", tmp_path / "tokens", "--json").stdout) == made
    assert "95 documents" in invoke(data, "show", tmp_path / "tokens").stderr
    config = tiny_config({"data": {"source": str(tmp_path / "tokens")}, "schedule": {"iterations": 2}})
    train(tmp_path / "run", config)
    assert not (tmp_path / "run" / "tokens").exists()


def test_the_same_command_again_changes_and_reads_nothing(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("prepare", text, "-o", tmp_path, "--vocab-size", "320", "--json")
    made = invoke(data, *arguments).stdout
    with monkeypatch.context() as patch:
        patch.setattr("llgen.trainer.data.Source.documents", lambda *rest: pytest.fail("the text was read again"))
        assert invoke(data, *arguments).stdout == made
    tokenizer_file = tmp_path / "tokenizer.model"
    before = tokenizer_file.read_bytes()
    tokenizer_file.write_bytes(b"something else")
    assert invoke(data, *arguments).stdout == made
    assert tokenizer_file.read_bytes() == before
    assert json.loads(invoke(data, *arguments, "--held-out", "0.1").stdout) != json.loads(made)


def test_show_finds_damage(text: Path, tmp_path: Path) -> None:
    invoke(data, "prepare", text, "-o", tmp_path, "--vocab-size", "320")
    shard = tmp_path / "train-00000.bin"
    shard.write_bytes(b"\7" + shard.read_bytes()[1:])
    with pytest.raises(LlgenError, match=r"train-00000\.bin was changed since it was written"):
        invoke(data, "show", tmp_path)


def test_choices_that_contradict_are_refused(text: Path, tmp_path: Path) -> None:
    with pytest.raises(LlgenError, match="--tokenizer has its own pieces"):
        invoke(data, "prepare", text, "-o", tmp_path, "--tokenizer", "a.model", "--vocab-size", "320")
    with pytest.raises(LlgenError, match="is a file"):
        invoke(data, "prepare", text, "-o", text)
    with pytest.raises(LlgenError, match="is a folder"):
        invoke(tokenizer, "train", text, "-o", tmp_path)


CONTENT = "\n<|endoftext|>\n".join(STORIES).encode()
FILES = tuple(
    RemoteFile(name, len(CONTENT), hashlib.sha256(CONTENT).hexdigest()) for name in ("train.txt", "valid.txt")
)


class Server(BaseHTTPRequestHandler):
    """Serves FILES, answers requests for ranges, and counts the bytes that it sends."""

    content: bytes
    sent: int
    cut: int | None

    def do_GET(self) -> None:
        content = Server.content
        if self.path.lstrip("/") not in {file.name for file in FILES}:
            self.send_error(404)
            return
        asked = self.headers.get("Range")
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        if start >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        part = content[start:] if Server.cut is None else content[start : Server.cut]
        Server.sent += len(part)
        self.wfile.write(part)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    Server.content, Server.sent, Server.cut = CONTENT, 0, None
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{http.server_port}/"
        monkeypatch.setattr(tinystories, "BASE", url)
        monkeypatch.setattr(tinystories, "FILES", FILES)
        yield url
        http.shutdown()


def test_a_broken_download_goes_on_where_it_ended(server: str, tmp_path: Path) -> None:
    url, path = server + "train.txt", tmp_path / "train.txt"
    Server.cut = 1000
    with pytest.raises(LlgenError, match="it stopped after 1,000 of"):
        download(url, path)
    assert not path.exists()
    Server.cut = None
    told: list[int] = []
    download(url, path, lambda have, whole: told.append(have), sha256=FILES[0].sha256)
    assert path.read_bytes() == CONTENT
    assert Server.sent == told[-1] == len(CONTENT)
    path.rename(path.with_name(path.name + ".part"))  # as after a power failure before the complete file was renamed
    download(url, path)
    assert path.read_bytes() == CONTENT


def test_what_is_not_the_file_asked_for_is_thrown_away(server: str, tmp_path: Path) -> None:
    Server.content = b"<html>please log in</html>"
    with pytest.raises(LlgenError, match="does not have the SHA-256"):
        tinystories.fetch(tmp_path)
    Server.content = CONTENT
    assert [path.read_bytes() for path in tinystories.fetch(tmp_path)] == [CONTENT, CONTENT]


def test_tinystories_from_a_server_and_from_files(server: str, tmp_path: Path) -> None:
    arguments = ["tinystories", "-o", tmp_path / "tokens", "--vocab-size", "320", "--json"]
    made = json.loads(invoke(data, *arguments).stdout)
    assert (made["train"]["documents"], made["held_out"]["documents"]) == (100, 1)  # the end of the last one
    assert Server.sent == 2 * len(CONTENT)
    invoke(data, *arguments)
    invoke(data, "tinystories", "-o", tmp_path / "b", "--from", tmp_path / "tokens" / "texts", "--vocab-size", "320")
    assert Server.sent == 2 * len(CONTENT)  # nothing was downloaded again
    (tmp_path / "tokens" / "texts" / "valid.txt").write_bytes(b"cut")
    with pytest.raises(LlgenError, match="has 3 bytes; the file of TinyStories has"):
        invoke(data, *arguments)


def test_without_a_network_the_addresses_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    addresses = [tinystories.BASE + file.name for file in tinystories.FILES]
    assert all(address.startswith("https://huggingface.co/datasets/roneneldan/TinyStories/") for address in addresses)
    monkeypatch.setattr(tinystories, "BASE", "http://127.0.0.1:9/")
    with pytest.raises(LlgenError, match="cannot download") as caught:
        invoke(data, "tinystories", "-o", tmp_path)
    assert caught.value.hint is not None
    assert all(f"http://127.0.0.1:9/{file.name}" in caught.value.hint for file in tinystories.FILES)
    assert str(tmp_path / "texts") in caught.value.hint


# ------------------------------------------------------------------------------------------------------- tokenizer


def test_a_model_whose_texts_begin_without_bos_is_scored_and_calibrated(text: Path, tmp_path: Path) -> None:
    vocabulary = trained_vocabulary(bos_id=-1)
    config = replace(MIXED, vocab_size=len(vocabulary), bos_id=None, end_ids=(vocabulary.eos_id,))
    save_checkpoint(random_checkpoint(config, vocabulary=vocabulary), tmp_path / "m")
    found = json.loads(invoke(evaluate, tmp_path / "m", "--data", text, "--documents", 3, "--json").stdout)
    assert found["documents"] == 3
    done = invoke(
        quantize, tmp_path / "m", "--scheme", "q8", "--calibrate", text, "--documents", 3, "-o", tmp_path / "q"
    )
    assert done.exit_code == 0
    assert load_quantized(tmp_path / "q").config.bos_id is None


def test_a_piece_that_holds_a_line_break_breaks_no_table(tmp_path: Path) -> None:
    more = [Piece("a\nb", 0.0, Kind.USER_DEFINED), Piece("\x1b[31m", 0.0, Kind.CONTROL)]
    (tmp_path / "t.model").write_bytes(trained_vocabulary().with_pieces(more).proto)
    lines = invoke(tokenizer, "show", tmp_path / "t.model").stdout.splitlines()
    assert len(lines) == 422
    assert lines[-2:] == ["   420  a\\nb  user_defined", "   421  \\x1b[31m  control"]


def test_tokenizers_are_trained_shown_and_compared(text: Path, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.model"
    assert "320 pieces" in invoke(tokenizer, "train", text, "-o", path, "--vocab-size", "320").stderr
    shown = json.loads(invoke(tokenizer, "show", path, "a little girl", "--json").stdout)
    assert "".join(row["text"] for row in shown["tokens"]) == "▁a▁little▁girl"
    assert len(invoke(tokenizer, "show", path).stdout.splitlines()) == 320
    answer = json.loads(
        invoke(tokenizer, "compare", text, "--sizes", "300,400", "--tokenizer", path, "--dim", "32", "--json").stdout
    )
    rows = {row["tokenizer"]: row for row in answer["tokenizers"]}
    assert list(rows) == [str(path), "trained, 300", "trained, 400"]
    assert rows["trained, 300"]["bytes_per_token"] < rows["trained, 400"]["bytes_per_token"]
    assert rows["trained, 400"]["embedding_f32_bytes"] == 400 * 32 * 4
    table = rows["trained, 300"]["table_bytes"]
    shown_table = invoke(tokenizer, "compare", text, "--sizes", "300,30000").stderr
    assert f"{table + 300 * 64 * 4:,}" in shown_table
    assert f"{table + 300 * 66:,}" in shown_table
    assert "left out: the text is too small for a vocabulary of 30000 pieces" in shown_table
    with pytest.raises(LlgenError, match="--sizes is 'a lot'"):
        invoke(tokenizer, "compare", text, "--sizes", "a lot")


# ------------------------------------------------------------------------------------------------------------ eval


def test_a_model_and_its_run_score_the_same(text: Path, tmp_path: Path) -> None:
    train(tmp_path / "run", tiny_config())
    model = export_run(tmp_path / "run", tmp_path / "model")
    scores = [
        json.loads(invoke(evaluate, path, "--data", text, "--documents", "10", "--json").stdout)
        for path in (model, tmp_path / "run")
    ]
    assert scores[0] == scores[1]
    assert scores[0]["documents"] == 10
    vocabulary = load_checkpoint(model).vocabulary
    assert vocabulary is not None
    spelled = vocabulary.decode(vocabulary.encode(STORIES[0].replace("\n", " "))[:32])
    one = json.loads(invoke(evaluate, model, "--data", text, "--documents", "1", "--json").stdout)
    assert one["bytes"] == len(spelled.encode())
    assert one["nats_per_byte"] * one["bytes"] == pytest.approx(one["nats_per_token"] * one["tokens"])
    assert "nats per byte" in invoke(evaluate, model, "--data", text).stderr
