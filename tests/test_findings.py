"""The form of findings/: what CI can tell of them without running them, which installs packages and takes minutes."""

import ast
import os
import re
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "findings"
SCRIPTS = sorted(path for path in FOLDER.glob("*.sh") if path.name != "lib.sh")
README = (FOLDER / "README.md").read_text(encoding="utf-8")


def introduction(script):
    """The comment at the top, without its marks."""
    lines = script.read_text(encoding="utf-8").splitlines()[1:]
    comment = lines[: next(number for number, line in enumerate(lines) if not line.startswith("#"))]
    return [line.removeprefix("#").strip() for line in comment]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_finding_can_be_run_by_anybody(script):
    text = script.read_text(encoding="utf-8")
    assert os.access(script, os.X_OK)
    assert text.startswith("#!/usr/bin/env bash\n")
    assert "\nset -euo pipefail\n" in text
    subprocess.run(["bash", "-n", script], check=True)
    assert not re.search(r"import llgen|\bllgen\b", text), "a finding does without llgen"
    paths = re.findall(r"(?<![\w.$}*<:])/(?!dev/null|usr/bin/env)[a-z][\w.-]*/[\w./-]*", text)
    assert not paths, "an absolute path is of one machine"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_finding_states_versions_and_pins_what_it_installs(script):
    says = introduction(script)
    assert re.search(r"\d+\.\d+", says[0]), "the first line names tools and versions"
    assert says[1] == ""
    assert len(" ".join(says[2:])) > 80, "the behaviour stands in words"
    text = script.read_text(encoding="utf-8")
    installed = re.findall(r"^ *packages (.+)$", text, re.MULTILINE)
    assert installed
    for package in " ".join(installed).split():
        assert re.fullmatch(r"[\w-]+==\d[\w.]*", package), package
    assert re.search(r"^ *expect ", text, re.MULTILINE), "it fails when the behaviour changes"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_the_python_in_a_finding_is_python(script):
    for part in re.findall(
        r"\.py\" << 'EOF'\n(.*?)^EOF$", script.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    ):
        ast.parse(part)


def test_the_table_of_findings_lists_each_and_nothing_else():
    rows = re.findall(r"^\| \[(.+?)\]\((.+?)\.sh\) \| (.+?) \| (.+?) \| (.+?) \|$", README, re.MULTILINE)
    assert [name for name, *_ in rows] == [script.stem for script in SCRIPTS]
    for name, file, tools, behaviour, answer in rows:
        assert name == file
        versions = re.findall(r"\d+(?:\.\d+)+", tools)
        assert versions
        assert set(versions) <= set(re.findall(r"\d+(?:\.\d+)+", " ".join(introduction(FOLDER / f"{file}.sh")))), name
        assert len(behaviour) > 20
        assert len(answer) > 5
