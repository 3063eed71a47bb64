"""A wrong value of a target file is told by file, key and value, with the nearest valid names, in one line."""

from __future__ import annotations

import json
import re

import pytest

from llgen.codegen.compile.known_machine import require_known_machine
from llgen.errors import LlgenError
from llgen.targets.instruction_sets import select, set_names
from llgen.targets.schema import load_target, target_names

BOARD = """
description = "a board"
isa = {isa}
stdio = "semihosting"
suffix = ".elf"

[compiler]
triple = "{triple}"
cpu = "{cpu}"
libc_cpu = "{libc_cpu}"
cflags = {cflags}

[firmware]
core = "cortex_m"
fpu = true
clock_hz = 64_000_000

[[firmware.memory]]
name = "FLASH"
origin = 0x00000000
length = 0x100000
holds = ["code", "weights"]

[[firmware.memory]]
name = "RAM"
origin = 0x20000000
length = 0x40000
holds = ["data", "state"]
"""

GOOD = {
    "isa": '["dsp", "scalar"]',
    "triple": "thumb-freestanding-eabihf",
    "cpu": "cortex_m4+vfp4d16sp",
    "libc_cpu": "cortex_m4+vfp4d16sp",
    "cflags": "[]",
}

WRONG = {
    "a processor": ({"cpu": "cortex_m4x"}, "compiler.cpu is 'cortex_m4x'", "cortex_m4"),
    "a processor of the library": ({"libc_cpu": "cortex_m4x"}, "compiler.libc_cpu is 'cortex_m4x'", "cortex_m4"),
    "dashes": ({"cpu": "cortex-m4"}, "compiler.cpu is 'cortex-m4'", "cortex_m4"),
    "a feature": ({"cpu": "cortex_m4+vfp4d16s"}, "no feature 'vfp4d16s' is known", "vfp4d16sp"),
    "an architecture": ({"triple": "thum-freestanding-eabi"}, "compiler.triple is 'thum-freestanding-eabi'", "thumb"),
    "a system": ({"triple": "thumb-freestandin-eabihf"}, "no operating system 'freestandin'", "freestanding"),
    "an ABI": ({"triple": "thumb-freestanding-eabih"}, "no ABI 'eabih' is known", "eabihf"),
    "a flag": ({"cflags": '["-mfoo"]'}, "compiler.cflags is '-mfoo'", None),
    "no float unit": ({"cpu": "cortex_m4"}, "compiler.cpu is 'cortex_m4', which names no float unit", None),
    "kernels": ({"isa": '["dps", "scalar"]'}, "isa names 'dps'", "dsp"),
    "no such instructions": ({"isa": '["neon", "dsp", "scalar"]'}, "isa is 'neon', but", None),
    "no DSP": ({"cpu": "cortex_m3", "triple": "thumb-freestanding-eabi"}, "isa is 'dsp', but", None),
}


def board(folder, **changes):
    path = folder / "board.toml"
    path.write_text(BOARD.format(**{**GOOD, **changes}))
    return path


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_value_is_told_in_one_line(kind, llgen, fox, tmp_path):
    changes, words, meant = WRONG[kind]
    path = board(tmp_path, **changes)
    code, out, err = llgen("build", fox, "--target", path, "-o", tmp_path / "c")
    assert (code, out) == (1, "")
    lines = err.strip().splitlines()
    assert len(lines) == 2, err
    assert lines[0].startswith(f"llgen: '{path}': ")
    assert words in lines[0]
    assert lines[1].startswith("  try: ")
    assert meant is None or f"'{meant}'" in lines[0].partition("did you mean")[2]
    assert "doctor" not in err
    assert not (tmp_path / "c").exists()


def test_a_wrong_value_is_told_to_programs(llgen, fox, tmp_path):
    path = board(tmp_path, cpu="cortex_m4x")
    code, out, _ = llgen("build", fox, "--target", path, "-o", tmp_path / "c", "--json")
    answer = json.loads(out)
    assert code == 1
    facts = json.dumps(answer)
    assert '"compiler.cpu"' in facts
    assert '"cortex_m4x"' in facts


def test_a_right_file_passes_and_its_place_decides_nothing(tmp_path):
    target = load_target(str(board(tmp_path)))
    require_known_machine(target)
    assert target.source == str(tmp_path / "board.toml")
    assert "board.toml" not in target.model_dump_json()
    hint = ""
    try:
        require_known_machine(load_target(str(board(tmp_path, isa='["helium", "dsp", "scalar"]'))))
    except LlgenError as error:
        hint = error.hint
    assert hint.startswith('isa = ["dsp", "scalar"]')


@pytest.mark.parametrize("name", [name for name in target_names() if select(load_target(name).isa).needs])
def test_shipped_targets_have_the_instructions_of_their_kernels(name):
    """What is asked of a user's file holds for ours."""
    require_known_machine(load_target(name).model_copy(update={"source": f"{name}.toml"}))


def test_the_documents_list_of_kernels_is_whole():
    from pathlib import Path

    text = (Path(__file__).parents[2] / "doc" / "adding-a-target.md").read_text(encoding="utf-8")
    row = next(line for line in text.splitlines() if line.startswith("| `isa`"))
    assert set(re.findall(r"`(\w+)`", row)) - {"isa"} == set(set_names())
