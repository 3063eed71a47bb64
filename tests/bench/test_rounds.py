"""Rounds: whose turn it is, how often work is repeated, medians and ratios; no test here takes time."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llgen.codegen.bench.engine import Engine, Work, measure
from llgen.codegen.bench.rounds import rated, repeats_for, run_rounds, turned
from llgen.errors import LlgenError

DECODE = Work("decode", 10)


def engine(name: str, program: str = "", work: Work = DECODE) -> Engine:
    """An engine whose command is a line of Python that knows `repeats`."""
    return Engine(
        name, "f32", 1, work, lambda repeats: [sys.executable, "-c", f"import sys\nrepeats = {repeats}\n{program}"]
    )


def test_every_round_runs_every_engine_and_begins_with_another() -> None:
    engines = [engine(name) for name in ("yardstick", "llgen", "torch")]
    seen: list[str] = []

    def clock(which: Engine, repeats: int) -> float:
        seen.append(which.name)
        return 100.0

    run_rounds(engines, 3, clock=clock)
    y, g, t = "yardstick", "llgen", "torch"
    assert seen == [y, g, t, y, g, t, g, t, y, t, y, g]  # the first round warms up


@given(st.integers(1, 9), st.integers(0, 99))
def test_a_turn_leaves_nobody_out(count: int, by: int) -> None:
    assert sorted(turned(count, by)) == list(range(count))


def test_ratios_are_of_medians_to_the_yardsticks_decoding() -> None:
    engines = [engine("llgen"), engine("yardstick"), engine("llgen", work=Work("prefill", 10))]
    speeds = {
        id(engines[0]): [30.0, 10.0, 40.0],
        id(engines[1]): [10.0, 10.0, 20.0],
        id(engines[2]): [50.0, 70.0, 60.0],
    }
    taken: dict[int, int] = {}

    def clock(which: Engine, repeats: int) -> float:
        turn = taken.get(id(which), -1)  # the first call warms up
        taken[id(which)] = turn + 1
        return speeds[id(which)][max(turn, 0)]

    results = run_rounds(engines, 3, clock=clock)
    assert [result.median for result in results] == [30.0, 10.0, 60.0]
    assert [result.ratio for result in results] == [3.0, 1.0, 6.0]
    assert results[0].spread == 1.0
    assert results[0].as_json()["median_tokens_per_second"] == 30.0


def test_without_a_yardstick_there_is_no_ratio() -> None:
    (result,) = rated([engine("llgen")], [[1.0, 2.0]])
    assert result.ratio is None
    assert result.as_json()["ratio"] is None


@pytest.mark.parametrize(("speed", "repeats"), [(1e9, 1000), (1000.0, 20), (51.0, 2), (1.0, 1)])
def test_work_is_repeated_until_it_fills_a_fifth_of_a_second(speed: float, repeats: int) -> None:
    assert repeats_for(DECODE, speed) == repeats


def test_all_repeats_count_and_the_first_does_not() -> None:
    program = "for s in (0.001, 0.6, 0.2)[:repeats]: print(f'seconds {s:.6f}', file=sys.stderr)"
    assert measure(engine("llgen", program), 2) == pytest.approx(25.0)


@pytest.mark.parametrize(
    "program", ["print('no memory'); sys.exit(3)", "print('no memory')", "print('no memory\\nseconds 0.1')"]
)
def test_an_engine_that_fails_is_quoted(program: str) -> None:
    with pytest.raises(LlgenError, match=r"torch failed at torch f32 decode, 1 thread: (?s:.*)no memory"):
        measure(engine("torch", program), 1)
