"""`llgen data`, `llgen tokenizer` and `llgen eval` as a user calls them; downloads from a server of our own."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result
from runs import STORIES, tiny_config

from llgen.codegen.checkpoint import load_checkpoint
from llgen.codegen.cli.data import command as data
from llgen.codegen.cli.evaluate import command as evaluate
from llgen.codegen.cli.tokenizer import command as tokenizer
from llgen.codegen.errors import LlgenError
from llgen.trainer.data.download import download
from llgen.trainer.data.tinystories import FILES, fetch
from llgen.trainer.export import export_run
from llgen.trainer.run import train


def call(command: click.Command, *arguments: object) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments], catch_exceptions=False)


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "stories.txt"
    path.write_text("\n\n".join(story.replace("\n", " ") for story in STORIES), encoding="utf-8")
    return path


# ------------------------------------------------------------------------------------------------------------ data


def test_prepared_data_is_trained_on(text: Path, tmp_path: Path) -> None:
    made = json.loads(call(data, "prepare", text, "-o", tmp_path / "tokens", "--vocab-size", "320", "--json").stdout)
    assert (made["train"]["documents"], made["held_out"]["documents"], made["vocab_size"]) == (95, 5, 320)
    assert json.loads(call(data, "show", tmp_path / "tokens", "--json").stdout) == made
    assert "95 documents" in call(data, "show", tmp_path / "tokens").stderr
    config = tiny_config({"data": {"source": str(tmp_path / "tokens")}, "schedule": {"iterations": 2}})
    train(tmp_path / "run", config)
    assert not (tmp_path / "run" / "tokens").exists()


class Server(BaseHTTPRequestHandler):
    """Serves FILES, honours ranges, and counts what it sends."""

    sent: int
    cut: int | None

    def do_GET(self) -> None:
        content = ("\n<|endoftext|>\n".join(STORIES)).encode()
        if self.path.lstrip("/") not in FILES:
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
def server() -> Iterator[str]:
    Server.sent, Server.cut = 0, None
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}/"
        http.shutdown()


def test_a_broken_download_goes_on_where_it_ended(server: str, tmp_path: Path) -> None:
    whole = ("\n<|endoftext|>\n".join(STORIES)).encode()
    path = tmp_path / FILES[0]
    Server.cut = 1000
    with pytest.raises(LlgenError, match="it ended after 1,000 of"):
        download(server + FILES[0], path)
    assert not path.exists()
    Server.cut = None
    download(server + FILES[0], path)
    assert path.read_bytes() == whole
    assert Server.sent == len(whole)
    path.rename(path.with_name(path.name + ".part"))  # complete, but not yet renamed when the power went
    download(server + FILES[0], path)
    assert path.read_bytes() == whole


def test_tinystories_from_a_server_and_from_files(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llgen.trainer.data.tinystories.fetch.__defaults__", (*fetch.__defaults__[:-1], server))  # type: ignore[index]
    arguments = [
        "tinystories",
        "-o",
        tmp_path / "tokens",
        "--texts",
        tmp_path / "texts",
        "--vocab-size",
        "320",
        "--json",
    ]
    made = json.loads(call(data, *arguments).stdout)
    assert made["train"]["documents"] == 100 or made["held_out"]["documents"] == 1
    sent = Server.sent
    call(data, *arguments)  # all is there
    assert Server.sent == sent


def test_without_a_network_the_addresses_are_told(tmp_path: Path) -> None:
    with pytest.raises(LlgenError, match="cannot download") as caught:
        fetch(tmp_path, base="http://127.0.0.1:9/")
    assert caught.value.hint is not None
    assert all(f"http://127.0.0.1:9/{name}" in caught.value.hint for name in FILES)


# ------------------------------------------------------------------------------------------------------- tokenizer


def test_tokenizers_are_trained_shown_and_compared(text: Path, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.model"
    assert "320 pieces" in call(tokenizer, "train", text, "-o", path, "--vocab-size", "320").stderr
    shown = json.loads(call(tokenizer, "show", path, "a little girl", "--json").stdout)
    assert "".join(row["text"] for row in shown["tokens"]) == "▁a▁little▁girl"
    assert len(call(tokenizer, "show", path).stdout.splitlines()) == 320
    answer = json.loads(
        call(tokenizer, "compare", text, "--sizes", "300,400", "--tokenizer", path, "--dim", "32", "--json").stdout
    )
    rows = {row["tokenizer"]: row for row in answer["tokenizers"]}
    assert list(rows) == [str(path), "trained, 300", "trained, 400"]
    assert rows["trained, 300"]["bytes_per_token"] < rows["trained, 400"]["bytes_per_token"]
    assert rows["trained, 400"]["embedding_f32_bytes"] == 400 * 32 * 4
    assert f"{300 * 64 * 4:,}" in call(tokenizer, "compare", text, "--sizes", "300").stderr
    with pytest.raises(LlgenError, match="--sizes is 'a lot'"):
        call(tokenizer, "compare", text, "--sizes", "a lot")


# ------------------------------------------------------------------------------------------------------------ eval


def test_a_model_and_its_run_score_the_same(text: Path, tmp_path: Path) -> None:
    train(tmp_path / "run", tiny_config())
    model = export_run(tmp_path / "run", tmp_path / "model")
    scores = [
        json.loads(call(evaluate, path, "--data", text, "--documents", "10", "--json").stdout)
        for path in (model, tmp_path / "run")
    ]
    assert scores[0] == scores[1]
    assert scores[0]["documents"] == 10
    vocabulary = load_checkpoint(model).vocabulary
    assert vocabulary is not None
    spelled = vocabulary.decode(vocabulary.encode(STORIES[0].replace("\n", " "))[:32])
    one = json.loads(call(evaluate, model, "--data", text, "--documents", "1", "--json").stdout)
    assert one["bytes"] == len(spelled.encode())
    assert one["nats_per_byte"] * one["bytes"] == pytest.approx(one["nats_per_token"] * one["tokens"])
    assert "nats a byte" in call(evaluate, model, "--data", text).stderr
