"""The verdicts and the table of tests/compare_builds.py, which itself is run by hand."""

import runpy
from dataclasses import replace
from pathlib import Path

import pytest

SCRIPT = runpy.run_path(str(Path(__file__).with_name("compare_builds.py")))
Facts, Row, complaints, table = (SCRIPT[name] for name in ("Facts", "Row", "complaints", "table"))

BEFORE = Facts(digest="e1e64192", instructions=447_798.0, flash=295_866, ram=254_860, stack=576)


def row(**changes):
    return Row("cortex_m4f", "q8", BEFORE, replace(BEFORE, **changes), 18, ("tiny_forward.c",))


@pytest.mark.parametrize(
    "changes",
    [{}, {"instructions": 447_798 * 1.0049}, {"instructions": 1.0, "flash": 0, "ram": 0, "stack": 0}],
    ids=["equal", "hardly more", "better"],
)
def test_what_is_as_good_as_before_passes(changes):
    assert complaints(row(**changes)) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"digest": "384eba0c"}, "digest e1e64192 became 384eba0c"),
        ({"digest": None}, "digest e1e64192 became None"),
        ({"instructions": 447_798 * 1.01}, "instructions rose by 1.00%"),
        ({"instructions": None}, "instructions are no longer counted"),
        ({"flash": 295_870}, "flash rose by 4 bytes"),
        ({"ram": 254_861}, "ram rose by 1 bytes"),
        ({"stack": 584}, "stack rose by 8 bytes"),
        ({"stack": None}, "stack is no longer measured"),
        ({"problem": "the compiler failed"}, "no program: the compiler failed"),
    ],
)
def test_what_is_worse_is_said(changes, words):
    assert complaints(row(**changes)) == [words]


def test_a_board_that_neither_tree_can_serve_is_no_complaint():
    too_small = Facts(problem="the plan needs 89.0 KiB of RAM")
    assert complaints(Row("board", "f32", too_small, too_small)) == []
    assert complaints(Row("board", "f32", too_small, BEFORE)) == []


def test_the_table_shows_both_trees_and_counts_what_is_worse():
    lines = table([row(), row(instructions=895_596.0, ram=254_864)])
    equal, worse, words, changed, last = lines[1:]
    assert " ".join(equal.split()) == "cortex_m4f q8 18 same, 1 changed e1e64192 447,798 1.0000 295,866 254,860 576"
    assert "447,798 > 895,596" in worse
    assert "2.0000" in worse
    assert "254,860 > 254,864" in worse
    assert words == "    WORSE: instructions rose by 100.00%; ram rose by 4 bytes"
    assert changed == "changed in 2 of 2: tiny_forward.c"
    assert last == "2 compared, 1 worse"


def test_a_package_is_laid_out_as_the_tree_says(tmp_path):
    tree = tmp_path / "tree"
    (tree / "own").mkdir(parents=True)
    (tree / "own" / "__init__.py").touch()
    (tree / "code").mkdir()
    (tree / "pyproject.toml").write_text('[tool.setuptools.package-dir]\nllgen = "own"\n"llgen.codegen" = "code"\n')
    SCRIPT["link_package"](tree, tmp_path / "site")
    package = tmp_path / "site" / "llgen"
    assert sorted(path.name for path in package.iterdir()) == ["__init__.py", "codegen"]
    assert (package / "codegen").resolve() == tree / "code"
