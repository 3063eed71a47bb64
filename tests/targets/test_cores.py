"""Targets for microcontrollers are cores in an emulated machine, and say so; a board's memory is in its file."""

from __future__ import annotations

import re

import pytest

from llgen.targets.schema import load_target, target_names

CORES = [name for name in target_names() if load_target(name).firmware]


@pytest.mark.parametrize("name", CORES)
def test_a_core_names_no_chip_and_says_whose_memories_it_has(name):
    description = load_target(name).description
    assert " core" in description
    assert "the memories are the emulator's" in description
    assert not re.search(r"STM32|nRF|RP2|SAM|ESP32|LPC|RT10|CH32|GD32", description)


def test_a_build_for_a_core_says_whose_memories_it_was_held_against(llgen, fox, tmp_path):
    code, _, err = llgen("build", fox, "--target", "cortex_m4f", "-o", tmp_path / "core")
    assert code == 0
    assert "memory of the emulated machine: FLASH 4,194,304 bytes" in err
    assert "--target BOARD.toml" in err


def test_a_build_for_a_board_does_not(llgen, fox, tmp_path):
    from importlib.resources import files

    board = tmp_path / "board.toml"
    board.write_text((files("llgen.targets") / "cortex_m4f.toml").read_text(encoding="utf-8"))
    code, _, err = llgen("build", fox, "--target", board, "-o", tmp_path / "board")
    assert code == 0
    assert "emulated machine" not in err
