"""`llgen tune`: what it tries, when it takes it, what it remembers, and the file that it writes."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from commands import Answering
from hypothesis import given
from hypothesis import strategies as st
from models import random_checkpoint

from llgen.codegen.bench.engine import Work
from llgen.codegen.plan.tuning import Values, load_tuning, read_values, tuned, useful_names
from llgen.codegen.quantise.quantize import quantized
from llgen.codegen.render.pipeline import generate
from llgen.codegen.run.emulator import missing_emulator
from llgen.codegen.tune import judges, tuner
from llgen.codegen.tune.journal import Journal
from llgen.codegen.tune.judges import Counter, Timer
from llgen.codegen.tune.knobs import knobs, neighbours, usual_values
from llgen.codegen.tune.search import Gain, gain_of_counts, gain_of_times, search
from llgen.codegen.tune.trials import Trials
from llgen.targets.instruction_sets import select
from llgen.targets.schema import load_target, target_names

NUMBERS = [("f32", "f32"), ("q8", "q8"), ("q4", "f32")]
MODELS = {numbers: quantized(random_checkpoint(), *numbers) for numbers in NUMBERS}


# ----------------------------------------------------------------------------------------------------- what is tried


@pytest.mark.parametrize("numbers", NUMBERS)
@pytest.mark.parametrize("name", target_names())
def test_whatever_is_tried_is_a_tuning(name: str, numbers: tuple[str, str]) -> None:
    """The usual sizes change nothing; two steps away from them all is still what a file may hold."""
    model, target = MODELS[numbers], load_target(name)
    usual = usual_values(model, target, threads=True)
    assert tuned(select(target.isa), usual) == select(target.isa)
    assert generate(model, target, tuning=usual).files == generate(model, target).files
    near = [values for knob in knobs(usual) for values in neighbours(usual, knob, model, target)]
    assert usual not in near
    for values in near[:3]:
        for knob in knobs(values):
            near += neighbours(values, knob, model, target)
    for values in near:
        tuned(select(target.isa), values)
        assert Values.model_validate(values.given()) == values
        assert set(values.given()) <= set(useful_names(model, target, values.prefill or 1))


def test_a_microcontroller_keeps_its_ram() -> None:
    usual = usual_values(MODELS["f32", "f32"], load_target("cortex_m4f"), threads=False)
    assert usual == Values(accumulators=8)


def test_threads_are_tuned_when_there_are_several() -> None:
    target = load_target("x86_64_v3")
    assert usual_values(MODELS["q8", "q8"], target, threads=False).least_parallel is None
    usual = usual_values(MODELS["q8", "q8"], target, threads=True)
    assert usual.least_parallel == select(target.isa).least_parallel
    assert {v.least_parallel for v in neighbours(usual, "least_parallel", MODELS["q8", "q8"], target)} == {
        1 << 15,
        1 << 17,
    }


# ---------------------------------------------------------------------------------------------------- when it is taken


@pytest.mark.parametrize(
    ("speeds", "better"),
    [
        ([103, 103, 103, 103], True),
        ([101, 101, 101, 101], False),  # less than what counts
        ([150, 150, 99, 99], False),  # in half of the rounds
        ([103, 103, 103, 99], True),
        ([90, 80, 90, 90], False),
    ],
)
def test_by_time_a_gain_must_be_more_than_noise(speeds: list[float], better: bool) -> None:
    gain = gain_of_times({"decode": [100.0] * 4}, {"decode": speeds})
    assert gain.better == better


def test_a_gain_is_of_both_kinds_of_work() -> None:
    standing = {"decode": [100.0] * 3, "prefill": [1000.0] * 3}
    gain = gain_of_times(standing, {"decode": [98.0] * 3, "prefill": [1100.0] * 3})
    assert gain.better
    assert gain.ratios == {"decode": 0.98, "prefill": 1.1}
    assert not gain_of_times(standing, {"decode": [90.0] * 3, "prefill": [1100.0] * 3}).better


def test_a_machine_that_slows_down_for_all_is_no_gain_or_loss() -> None:
    assert gain_of_times({"decode": [100.0, 10.0, 50.0]}, {"decode": [105.0, 10.5, 52.5]}).total == pytest.approx(1.05)


def test_of_instructions_any_gain_counts() -> None:
    assert gain_of_counts({"decode": 1000.0}, {"decode": 998.0}).better
    assert not gain_of_counts({"decode": 1000.0}, {"decode": 1000.0}).better
    assert not gain_of_counts({"decode": 1000.0}, {"decode": 1001.0}).better


def judge_by(speed: Callable[[Values], float | None], seen: list[Values]) -> Any:
    def judge(standing: Values, candidates: Sequence[Values]) -> list[Gain | None]:
        seen.extend(candidates)
        speeds = [speed(values) for values in candidates]
        base = speed(standing)
        assert base is not None
        return [None if s is None else Gain({"decode": s / base}, s / base, s > 1.001 * base) for s in speeds]

    return judge


def test_the_search_climbs_to_the_top_and_measures_nothing_twice() -> None:
    model, target = MODELS["q8", "q8"], load_target("x86_64_v3")
    usual = usual_values(model, target, threads=False)
    seen: list[Values] = []

    def speed(values: Values) -> float | None:
        if values.prefill == 16:
            return None  # does not fit
        assert values.int_tiles is not None and values.prefill is not None and values.int_accumulators is not None
        return values.int_accumulators + 10 * (values.int_tiles[0][0] == 8) + (75 - values.prefill) / 100

    found, complete = search(
        usual, knobs(usual), lambda v, knob: neighbours(v, knob, model, target), judge_by(speed, seen)
    )
    assert complete
    assert found.int_accumulators == 16
    assert found.int_tiles is not None
    assert found.int_tiles[0][0] == 8
    assert found.prefill == 32  # 16, which lies between, does not fit
    assert len(seen) == len(set(seen))


def test_the_search_stops_when_time_is_over() -> None:
    usual = Values(accumulators=4)
    more = [Values(accumulators=8)]
    found, complete = search(
        usual, ["accumulators"], lambda values, knob: more, judge_by(lambda values: 1.0, []), in_time=lambda: False
    )
    assert (found, complete) == (usual, False)


# ------------------------------------------------------------------------------------------------ what it remembers


@given(st.dictionaries(st.text(), st.one_of(st.none(), st.floats(allow_nan=False), st.lists(st.integers()))))
def test_a_journal_holds_what_was_found(tmp_path_factory: pytest.TempPathFactory, found: dict[str, Any]) -> None:
    path = tmp_path_factory.mktemp("journal") / ".x.journal"
    journal = Journal(path, "a")
    for key, value in found.items():
        journal.keep(key, value)
    again = Journal(path, "a")
    assert len(again) == len(found)
    for key, value in found.items():
        assert again.knows(key)
        assert again.recall(key) == value
    assert len(Journal(path, "b")) == 0  # of something else
    again.remove()
    assert not path.exists()


def test_a_line_that_a_kill_cut_off_is_dropped(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j", "a")
    journal.keep("one", 1)
    journal.keep("two", 2)
    (tmp_path / "j").write_text((tmp_path / "j").read_text()[:-3])
    again = Journal(tmp_path / "j", "a")
    assert (again.knows("one"), again.knows("two")) == (True, False)
    again.keep("two", 3)
    assert Journal(tmp_path / "j", "a").recall("two") == 3


def test_times_are_measured_in_turns_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, target = MODELS["q8", "q8"], load_target("x86_64_v3")
    asked: list[int] = []

    def rounds(engines: Sequence[Any], count: int, progress: Any) -> list[Any]:
        asked.append(len(engines))
        return [type("Result", (), {"speeds": tuple([100.0 + at] * count)})() for at, _ in enumerate(engines)]

    monkeypatch.setattr(judges, "run_rounds", rounds)
    monkeypatch.setattr(judges, "program_that_fits", lambda trials, values, progress: _program(values, target))
    trials = Trials(model, target, tmp_path / "trials")
    works = (Work("decode", 4), Work("prefill", 4))
    for _ in range(2):
        timer = Timer(model, trials, Journal(tmp_path / "j", "a"), works, 3, 1, lambda what: None)
        gains = timer(Values(prefill=64), [Values(prefill=32), Values(prefill=16)])
        assert gains[0] is not None
        assert gains[0].ratios == {"decode": 1.01, "prefill": 103 / 102}
        assert gains[1] is None
    assert asked == [4]  # two programs at two works, once


def _program(values: Values, target: Any) -> Any:
    from llgen.codegen.compile.toolchain import Artifact

    return None if values.prefill == 16 else Artifact(Path("program"), target)


# ----------------------------------------------------------------------------------------------------- the command

MODEL_TARGET = load_target("host").name
"""The best target that runs here."""


@pytest.fixture
def answer(answer: Answering, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Answering:
    """Run a command with --json in an empty folder; returns (exit code, answer, standard error)."""
    monkeypatch.chdir(tmp_path)
    return answer


def test_from_measuring_to_a_build(
    answer: Answering, mute: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Instructions are made up: 16 accumulators take the fewest. A first run is interrupted, the second goes on."""
    counted: list[Values] = []

    def count(self: Counter, values: Values) -> dict[str, float] | None:
        counted.append(values)
        if len(counted) == 4:
            raise KeyboardInterrupt
        assert values.accumulators is not None
        return {work.kind: 1000.0 - values.accumulators for work in self.works}

    monkeypatch.setattr(Counter, "_count", count)
    monkeypatch.setattr(tuner, "uncountable", lambda artifact: None)
    words = ["tune", mute, "--target", MODEL_TARGET, "--by", "instructions"]
    code, said, err = answer(*words)
    assert (code, said["error"]["exit_code"]) == (130, 130)
    assert "stopped; the same command continues" in err
    assert [path.name for path in tmp_path.iterdir()] == [f".mute-{MODEL_TARGET}-f32.toml.journal"]

    code, said, err = answer(*words)
    assert code == 0, err
    assert len(counted) == len(set(counted)) + 1  # what was being measured when it was stopped, again
    usual = said["usual"]["accumulators"]
    assert usual in (4, 8)
    assert said["values"] == {**said["usual"], "accumulators": 16}
    gain = (1000 - usual) / 984
    assert said["ratios"] == pytest.approx({"decode": gain, "prefill": gain}, abs=1e-4)
    assert [path.name for path in tmp_path.iterdir()] == [f"mute-{MODEL_TARGET}-f32.toml"]
    text = Path(said["file"]).read_text()
    assert f"accumulators = 16 # default {usual}" in text
    assert f"#   accumulators {usual // 2}: {(1000 - usual) / (1000 - usual // 2):.4f}" in text
    assert tomllib.loads(text)["measured"]["by"] == "instructions"
    assert read_values(Path(said["file"]), MODELS["f32", "f32"], load_target(MODEL_TARGET)).accumulators == 16

    code, built, err = answer("build", mute, "--target", MODEL_TARGET, "--tuning", said["file"], "-o", "out")
    assert code == 0, err
    assert built["digest"] == said["digest"]
    assert built["tuning"] == said["values"]
    code, checked, err = answer("check", mute, "--target", MODEL_TARGET, "--tuning", said["file"], "--no-torch")
    assert code == 0, err
    assert checked["targets"][0]["equal"]
    greedy = ["-n", 9, "-t", 0, "--ignore-eos"]
    code, ran, err = answer("run", mute, "--target", MODEL_TARGET, "--tuning", said["file"], "--tokens", "1,7", *greedy)
    assert code == 0, err
    assert len(ran["prompt_tokens"]) + len(ran["tokens"]) == 9


def test_a_real_count(answer: Answering, mute: Path) -> None:
    problem = missing_emulator(load_target("cortex_m4f"))
    if problem:
        pytest.skip(problem)
    code, said, err = answer("tune", mute, "--target", "cortex_m4f", "--positions", 4, "--context", 20)
    assert code == 0, err
    assert said["by"] == "instructions"
    assert set(said["ratios"]) == {"decode"}
    assert said["ratios"]["decode"] >= 1.0
    assert said["complete"]
    assert load_tuning(Path(said["file"])).measured is not None


def test_time_that_is_over_leaves_what_is_usual(answer: Answering, mute: Path, tmp_path: Path) -> None:
    code, said, err = answer("tune", mute, "--target", MODEL_TARGET, "--seconds", 0, "--scheme", "q8", "-o", "t.toml")
    assert code == 0, err
    assert said["values"] == said["usual"]
    assert (said["tried"], said["complete"]) == (0, False)
    assert "the same command continues" in err
    assert {path.name for path in tmp_path.iterdir()} == {"t.toml", ".t.toml.journal"}


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--target", "cortex_m3", "--by", "time"], 2, "would be the emulator's"),
        (["--target", "armv7", "--threads", "2"], 2, "--threads is for --by time"),
        (["--target", "wasm32_wasi", "--by", "time", "--threads", "2"], 2, "can use at most 1"),
        (["--target", "windows_x86_64"], 1, "can be built here, not run"),
        (["--target", "x86_64", "--positions", "76"], 2, "the context has 75"),
        (["-o", "mine.txt"], 1, "'mine.txt' exists and is not a tuning"),
        (["--rounds", "2"], 2, "x>=3"),
    ],
)
def test_refuses_what_makes_no_sense(
    answer: Answering, mute: Path, tmp_path: Path, words: list[str], code: int, message: str
) -> None:
    (tmp_path / "mine.txt").write_text("precious")
    found, _, err = answer("tune", mute, *words)
    assert found == code
    assert message in err
    assert (tmp_path / "mine.txt").read_text() == "precious"
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_tuning_for_something_else_is_refused_by_every_command(answer: Answering, mute: Path, tmp_path: Path) -> None:
    (tmp_path / "t.toml").write_text("[for]\n")
    for command in (["build", mute, "-o", "out"], ["run", mute, "--tokens", "1"], ["check", mute], ["bench", mute]):
        code, _, err = answer(*command, "--tuning", "t.toml")
        assert code == 1
        assert "'t.toml': for.target is wrong: Field required" in err
    code, _, err = answer("check", mute, "--target", "all", "--tuning", "t.toml")
    assert code == 2
    assert "--tuning is for one target" in err
    assert [path.name for path in tmp_path.iterdir()] == ["t.toml"]


def test_programs_that_compute_something_else_are_not_tunings(
    answer: Answering, mute: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuner, "run_selftest", lambda artifact, positions: tuner.expected_trace(MODELS["q8", "q8"], 3))
    code, _, err = answer("tune", mute, "--target", MODEL_TARGET, "--seconds", 0)
    assert code == 4
    assert "the digest is" in err


def test_an_object_is_compiled_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[list[str]] = []
    really = Trials.__init__.__globals__["compile_objects"]

    def compile_objects(directory: Path, sources: list[str], *rest: Any) -> list[Path]:
        compiled.append(list(sources))
        found: list[Path] = really(directory, sources, *rest)
        return found

    monkeypatch.setattr("llgen.codegen.tune.trials.compile_objects", compile_objects)
    trials = Trials(MODELS["q8", "q8"], load_target("x86_64_v3"), tmp_path)  # compiled anywhere, run nowhere
    trials.program(Values())
    trials.program(Values(int_tiles=((6, 1), (2, 2), (1, 2))))
    trials.program(Values(prefill=16))
    trials.discard(Values())
    trials.program(Values())
    assert "model_weights.c" in compiled[0]
    # The tiles are functions of the network, whose names all files but these take from one header.
    assert "model_forward.c" in compiled[1]
    assert not {"model_weights.c", "model_tokenizer.c"} & set(compiled[1])
    assert "model_weights.c" not in compiled[2]
    assert compiled[3] == []


def test_what_does_not_fit_is_no_candidate(tmp_path: Path) -> None:
    target = load_target("cortex_m4f")
    assert target.firmware is not None
    regions = tuple(
        region.model_copy(update={"length": 1 << 16}) if "state" in region.holds else region
        for region in target.firmware.memory
    )
    small = target.model_copy(update={"firmware": target.firmware.model_copy(update={"memory": regions})})
    trials = Trials(MODELS["f32", "f32"], small, tmp_path)
    assert judges.program_that_fits(trials, Values(), lambda what: None) is not None
    assert judges.program_that_fits(trials, Values(prefill=64), lambda what: None) is None
