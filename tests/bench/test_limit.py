"""The limit reads what a token reads and multiplies what a prompt multiplies."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace

import pytest
from models import ODD, random_checkpoint

from llgen.codegen.bench import native
from llgen.codegen.bench.engine import Engine, Work, measure
from llgen.codegen.bench.limit import bytes_a_token, limit_engines
from llgen.codegen.bench.shapes import SHAPES
from llgen.codegen.bench.subject import Subject, subject_of_shape
from llgen.codegen.quantise.quantize import quantized

WORKS = [Work("decode", 8), Work("prefill", 4)]


@pytest.fixture(scope="module")
def subject() -> Subject:
    return subject_of_shape("260k", None, None)


def engines_of(subject: Subject) -> dict[tuple[str, str, int], Engine]:
    found = limit_engines(subject, {"f32": 1_037_312, "q4": 160_000}, WORKS, (1, 2), "native")
    return {(engine.scheme, engine.work.kind, engine.threads): engine for engine in found}


def test_bytes_and_products_are_the_models(subject: Subject) -> None:
    c = SHAPES["260k"]
    layers = c.n_layers * c.dim * (2 * c.q_dim + 2 * c.kv_dim + 3 * c.hidden_dim)
    classifier = c.vocab_size * c.dim
    engines = engines_of(subject)
    assert set(engines) == {
        *((scheme, "decode", threads) for scheme in ("f32", "q4") for threads in (1, 2)),
        *(("f32", "prefill", threads) for threads in (1, 2)),
    }
    words = {key: [*engine.command(3)][1:] for key, engine in engines.items()}
    assert words["f32", "decode", 1] == ["read", "1037312", "8", "1", "3"]
    assert words["q4", "decode", 2] == ["read", "160000", "8", "2", "3"]
    # of a prompt, the last position alone meets the classifier
    assert words["f32", "prefill", 1] == ["multiply", str((4 * layers + classifier) // 4), "4", "1", "3"]


@pytest.mark.parametrize("tied", [True, False])
def test_an_embedding_that_is_looked_up_is_not_read(tied: bool) -> None:
    checkpoint = random_checkpoint(replace(ODD, tied=tied))
    c = checkpoint.config
    layers = c.n_layers * c.dim * (2 * c.q_dim + 2 * c.kv_dim + 3 * c.hidden_dim)
    assert bytes_a_token(quantized(checkpoint, "f32")) == 4 * (layers + c.vocab_size * c.dim)


def test_runs(subject: Subject) -> None:
    for engine in engines_of(subject).values():
        assert measure(engine, 2) > 0


def test_products_are_rounded_before_they_are_added() -> None:
    assert "-ffp-contract=off" in native.compile_tool("limit", fast_math=False).compiler


def test_zig_compiles_it_where_there_is_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native.shutil, "which", lambda name: None)
    tool = native.compile_tool("limit", fast_math=False)
    assert tool.compiler == "zig cc -O3 -ffp-contract=off -march=native -fno-sanitize=undefined"
    done = subprocess.run([tool.program, "multiply", "1000", "2", "2", "3"], capture_output=True, text=True, check=True)
    assert len(re.findall(r"^seconds \d+\.\d+$", done.stdout, re.MULTILINE)) == 3


@pytest.mark.parametrize(
    "words", [[], ["read"], ["write", "1", "1", "1", "1"], ["read", "0", "1", "1", "1"], ["read", "1", "1", "257", "1"]]
)
def test_what_it_does_not_take_is_refused(words: list[str]) -> None:
    program = native.compile_tool("limit", fast_math=False).program
    done = subprocess.run([program, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: limit ")
