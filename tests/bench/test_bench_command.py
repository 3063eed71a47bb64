"""`llgen bench` as a user runs it: rows, JSON, shapes, and what it says of engines that are not there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import Answering
from models import random_checkpoint
from processors import require_processor

from llgen.codegen.bench import benchmark as bench_module
from llgen.codegen.bench import llama_cpp, subject, torch_eager
from llgen.codegen.bench.lineup import Asked
from llgen.codegen.bench.rounds import run_rounds
from llgen.codegen.bench.shapes import SHAPES, random_model
from llgen.codegen.model.architectures import parameter_count
from llgen.codegen.quantise.quantize import quantized
from llgen.codegen.quantise.quantized import save_quantized
from llgen.targets.schema import load_target
from llgen.trainer.layers import layered, read_preset

PROMISED = {"engine", "scheme", "kind", "positions", "threads", "median_tokens_per_second", "ratio"}


@pytest.fixture
def untimed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Engines are made, and none is run: each does as many tokens per second as its name has letters."""
    monkeypatch.setattr(
        bench_module,
        "run_rounds",
        lambda engines, rounds, progress: run_rounds(engines, rounds, clock=lambda engine, _: float(len(engine.name))),
    )


def rows(answer: dict[str, Any]) -> list[tuple[str, str, str, int, int]]:
    return [(row["engine"], row["scheme"], row["kind"], row["positions"], row["threads"]) for row in answer["results"]]


def test_measures_every_engine_that_is_there(bench: Answering, mute: Path) -> None:
    installed = {"llama.cpp": llama_cpp.missing() is None, "torch": torch_eager.missing() is None}
    rivals = ["yardstick", *(name for name in installed if installed[name])]
    code, answer, err = bench(
        mute, "--schemes", "f32,q4", "--against", ",".join(rivals), "--positions", 8, "--prefill", 6, "--rounds", 1,
        "--no-instructions",
    )  # fmt: skip
    assert code == 0, err
    assert {row["engine"] for row in answer["results"]} == {"llgen", *rivals}
    assert all(set(row) >= PROMISED for row in answer["results"])
    assert all(row["median_tokens_per_second"] > 0 and row["ratio"] > 0 for row in answer["results"])
    assert answer["results"][0]["engine"] == "yardstick"
    assert answer["results"][0]["ratio"] == 1.0
    assert answer["instructions"] == []
    assert "cores" in answer["machine"]
    if installed["llama.cpp"]:
        assert ("llama.cpp", "q4_0", "prefill", 6, 1) in rows(answer)
        assert "llama.cpp q4_0: F16 for 9 matrices" in err


@pytest.mark.usefixtures("untimed")
def test_rows_are_schemes_by_kinds_by_threads(bench: Answering, mute: Path) -> None:
    code, answer, err = bench(mute, "--schemes", "f32,q8", "--threads", "1", "--threads", "2", "--no-instructions")
    assert code == 0, err
    assert rows(answer) == [
        ("yardstick", "f32", "decode", 75, 1),
        *(("llgen", scheme, kind, 75, n) for kind in ("decode", "prefill") for n in (1, 2) for scheme in ("f32", "q8")),
    ]
    assert [row["ratio"] for row in answer["results"]] == [1.0, *8 * [0.556]]


@pytest.mark.usefixtures("untimed")
def test_more_threads_than_a_program_has_are_left_out(bench: Answering, mute: Path) -> None:
    code, answer, err = bench(mute, "--schemes", "f32", "--threads", "1,65", "--against", "none", "--no-instructions")
    assert code == 0, err
    assert {row[-1] for row in rows(answer)} == {1}
    assert " is measured on at most 64 threads: its C can use no more" in err


@pytest.mark.usefixtures("untimed")
def test_an_engine_that_is_missing_is_left_out_in_one_line(
    bench: Answering, mute: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (llama_cpp, torch_eager):
        monkeypatch.setattr(module, "find_spec", lambda name: None)
    code, answer, err = bench(mute, "--against", "llama.cpp,torch", "--no-instructions")
    assert code == 0, err
    assert {row["engine"] for row in answer["results"]} == {"llgen"}
    assert all(row["ratio"] is None for row in answer["results"])
    lines = err.splitlines()
    assert any(line.startswith("llama.cpp is left out") and "pip install" in line for line in lines)
    assert any(line.startswith("torch is left out") and "pip install 'llgen[train]'" in line for line in lines)
    assert answer["notes"] == lines


@pytest.mark.usefixtures("untimed")
def test_a_shape_takes_no_model(bench: Answering) -> None:
    code, answer, err = bench("--shape", "260K", "--schemes", "q8", "--against", "none", "--no-instructions")
    assert code == 0, err
    assert answer["weights"] == 259_328
    assert rows(answer) == [("llgen", "q8", "decode", 200, 1), ("llgen", "q8", "prefill", 128, 1)]


@pytest.mark.usefixtures("untimed")
def test_integers_alone_are_measured_beside_random_weights(bench: Answering, tmp_path: Path) -> None:
    save_quantized(quantized(random_checkpoint(), "q4"), tmp_path / "model")
    code, answer, err = bench(tmp_path / "model", "--no-instructions", "--positions", 3)
    assert code == 0, err
    assert ("llgen", "q4", "decode", 3, 1) in rows(answer)
    assert "random weights of the same shape" in err


@pytest.mark.usefixtures("untimed")
def test_vectors_are_said_of_both_sides(bench: Answering, mute: Path) -> None:
    code, answer, err = bench(
        mute, "--target", "x86_64", "--yardstick", "target", "--schemes", "q8", "--no-instructions"
    )
    assert code == 0, err
    assert [row["isa"] for row in answer["results"]] == ["SSE2", "sse2", "sse2"]
    assert answer["yardstick"].endswith("-march=x86-64 (SSE2)")


TUNING = """
[for]
target = "x86_64"
scheme = "q8"
kv = "q8"
shape = { dim = 36, hidden_dim = 172, n_layers = 1, n_heads = 6, n_kv_heads = 2, head_dim = 6, vocab_size = 301 }
[values]
prefill = 32
"""


@pytest.mark.usefixtures("untimed")
def test_a_tuning_is_measured_beside_the_usual_sizes(bench: Answering, mute: Path, tmp_path: Path) -> None:
    require_processor(load_target("x86_64_v3"))
    path = tmp_path / "tuning.toml"
    path.write_text(TUNING)
    words = [mute, "--target", "x86_64,x86_64_v3", "--no-instructions", "--tuning", path, "--schemes"]
    code, answer, err = bench(*words, "f32,q8")
    assert code == 0, err
    found = [(row["target"], row["scheme"]) for row in answer["results"] if row["tuning"] == str(path)]
    assert found == 2 * [("x86_64", "q8")]
    assert len(answer["results"]) == 1 + 2 * 5
    code, _, err = bench(*words, "f32")
    assert code == 2
    assert "is for scheme q8 on x86_64, which is not measured" in err


def test_instructions_come_with_a_row_for_each_scheme_and_kind(
    bench: Answering, mute: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llgen.codegen.bench.counts.instructions_per_token", lambda artifact, count, kind: 1000 * count)
    monkeypatch.setattr("llgen.codegen.bench.counts.uncountable", lambda artifact: None)
    code, answer, err = bench(mute, "--target", "armv7", "--schemes", "f32,q8", "--prefill", 5)
    assert code == 0, err
    assert answer["results"] == []
    assert answer["machine"] == "armv7"
    found = [(row["scheme"], row["kv"], row["kind"], row["positions"]) for row in answer["instructions"]]
    assert found == [
        ("f32", "f32", "decode", 64),
        ("f32", "f32", "prefill", 5),
        ("q8", "q8", "decode", 64),
        ("q8", "q8", "prefill", 5),
    ]
    assert answer["instructions_per_token"] == 64_000
    weights = 36 * (36 + 12 + 12 + 36 + 3 * 172) + 301 * 36
    assert answer["weights"] == weights
    assert answer["instructions"][1]["instructions_per_weight"] == round(5000 / weights, 3)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "there is nothing to measure"),
        (["m", "--shape", "15m"], "MODEL and --shape exclude each other"),
        (["--shape", "7b"], "there is no shape '7b'"),
        (["--shape", "260k", "--schemes", "q8,q5"], "--schemes has 'q5', which is none of f32, q8, q4"),
        (["--shape", "260k", "--schemes", ","], "--schemes is empty"),
        (["--shape", "260k", "--against", "yardstick,gpt"], "--against has 'gpt'"),
        (["--shape", "260k", "--threads", "1,0"], "--threads has '0'"),
        (["--shape", "260k", "--positions", "513"], "--positions asks for 513 positions; the context has 512"),
        (["--shape", "260k", "--prefill", "513"], "--prefill asks for 513 positions; the context has 512"),
        (["--shape", "260k", "--target", "z80"], "there is no target 'z80'"),
        (["--shape", "260k", "--target", "x86_64,armv7", "--yardstick", "target"], "is for one target"),
    ],
)
def test_refuses_what_it_cannot_do(arguments: list[str], words: str, bench: Answering) -> None:
    code, _, err = bench(*arguments)
    assert code == 2
    assert words in err


def test_random_weights_are_the_same_each_time() -> None:
    first, second = (random_model(SHAPES["260k"], "r") for _ in range(2))
    assert first.sha256 == second.sha256
    spread = np.std(first.tensors["model.layers.0.mlp.up_proj.weight"]) * np.sqrt(64)
    assert 0.9 < spread < 1.1


def test_random_weights_need_no_long_digest(mute: Path) -> None:
    """The reference takes seconds for a position of 110 million parameters."""
    assert subject.subject_of_shape("260k", None, None).digest_positions == 4
    assert subject.subject_of_directory(mute, None, None).digest_positions == 64


def test_shapes_have_the_numbers_of_parameters_that_name_them() -> None:
    counts = {name: parameter_count(config) for name, config in SHAPES.items()}
    assert counts == {"260k": 260_032, "15m": 15_191_712, "42m": 41_689_600, "110m": 109_529_856}


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_are_those_that_the_trainer_knows(name: str) -> None:
    preset = layered([read_preset(f"stories-{name}")]).model.resolved()
    assert SHAPES[name] == preset


@pytest.mark.parametrize(("shape", "timed", "positions"), [("260k", True, 200), ("260k", False, 64), ("15m", True, 64)])
def test_small_models_decode_longer(shape: str, timed: bool, positions: int) -> None:
    found = subject.subject_of_shape(shape, None, None)
    asked = Asked((), ("f32",), (1,), (), None, 0)
    assert [(work.kind, work.positions) for work in asked.works(found, timed=timed)] == [("decode", positions)]
