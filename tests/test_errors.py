"""Mistyped names, and errors for programs."""

import errno
import json
import os

import pytest
from models import random_checkpoint

from llgen.codegen.cli import targets
from llgen.codegen.formats.hf.directory import save_checkpoint
from llgen.errors import closest
from llgen.targets.schema import target_names

# ------------------------------------------------------------------------------------------------------ did you mean

MISTYPED = {
    "a command": (["bild"], "there is no command 'bild'; did you mean 'build'?"),
    "a command of a group": (["data", "prepair", "x"], "there is no command 'prepair'; did you mean 'prepare'?"),
    "a target": (["build", "m", "--target", "cortex-m4"], "'cortex-m4'; did you mean 'cortex_m4f'"),
    "a target of several": (["check", "{model}", "--target", "host,armv"], "did you mean 'armv7' or 'armv6'?"),
    "a preset": (["train", "-o", "r", "--preset", "stories260k"], "did you mean 'stories-260k'"),
    "a setting": (["train", "-o", "r", "--set", "model.dmi=3"], "'model.dmi'; did you mean 'model.dim'"),
    "a shape": (["bench", "--shape", "260"], "there is no shape '260'; did you mean '260k'?"),
    "a word of a list": (["bench", "--shape", "260k", "--against", "yardstik"], "; did you mean 'yardstick'?"),
    "an option": (["build", "m", "--targt", "x"], "no such option '--targt'. Did you mean '--target'?"),
}


@pytest.mark.parametrize("case", MISTYPED)
def test_a_mistyped_name_is_answered_with_the_likeliest(llgen, tmp_path, monkeypatch, case):
    monkeypatch.chdir(tmp_path)
    save_checkpoint(random_checkpoint(), tmp_path / "model")
    words, expected = MISTYPED[case]
    code, out, err = llgen(*[word.format(model=tmp_path / "model") for word in words])
    assert (code, out) == (2, "")
    assert expected in err.splitlines()[0]


def test_what_is_like_nothing_is_answered_with_the_way_to_all_names(llgen):
    code, _, err = llgen("build", "m", "--target", "z80")
    assert code == 2
    assert err == "llgen: there is no target 'z80'\n  try: `llgen targets` lists them\n"


def test_capitals_and_dashes_make_no_other_name():
    assert closest("Cortex-M7", target_names())[0] == "cortex_m7"
    assert closest("wasm", target_names())
    assert closest("x", ["x86_64"]) == []


# ------------------------------------------------------------------------------------------------------- wrong paths


def test_a_mistyped_model_is_answered_with_the_one_beside_it(llgen, tmp_path):
    save_checkpoint(random_checkpoint(), tmp_path / "stories")
    code, _, err = llgen("check", tmp_path / "storys")
    assert code == 1
    assert f"there is no model directory '{tmp_path / 'storys'}'; did you mean 'stories'?" in err


def test_a_file_for_a_model_is_answered_with_the_import(llgen, tmp_path):
    (tmp_path / "stories 1.gguf").write_bytes(b"GGUF")
    code, _, err = llgen("build", tmp_path / "stories 1.gguf")
    assert code == 1
    assert "is a file, and a model is a directory\n  try: `llgen import '" in err


EMPTY_NAMES = {
    "a model": ["build", ""],
    "an output": ["build", "m", "-o", ""],
    "a text": ["train", "--data", "", "-o", "run"],
    "a text to evaluate on": ["eval", "m", "--data", ""],
    "a model to fine-tune": ["train", "--from", "", "-o", "run"],
}


@pytest.mark.parametrize("case", EMPTY_NAMES)
def test_an_empty_name_is_not_taken_for_this_folder(llgen, tmp_path, monkeypatch, case):
    monkeypatch.chdir(tmp_path)
    code, out, err = llgen(*EMPTY_NAMES[case])
    assert (code, out) == (2, "")
    assert "it is empty; give the name of a file or folder" in err
    assert list(tmp_path.iterdir()) == []


def test_an_empty_preset_is_none(llgen, tmp_path):
    code, _, err = llgen("train", "--preset", "", "-o", tmp_path / "run", "--iterations", 1)
    assert code == 2
    assert "there is no preset ''" in err


def test_inspect_refuses_a_target_that_does_not_exist_at_every_stage(llgen, tmp_path):
    save_checkpoint(random_checkpoint(), tmp_path / "odd")
    for stage in ("spec", "plan"):
        assert llgen("inspect", tmp_path / "odd", "--stage", stage, "--target", "z80")[0] == 2


WRONG_CONFIGURATIONS = {
    "text": ("Once upon a time\n", "is not TOML", "--data"),
    "nothing": ("", "holds no settings", "--data"),
    "no file": (None, "there is no configuration", "doc/training.md"),
}


@pytest.mark.parametrize("case", WRONG_CONFIGURATIONS)
def test_text_in_the_place_of_a_configuration_is_answered_with_the_option_for_it(llgen, tmp_path, case):
    content, message, hint = WRONG_CONFIGURATIONS[case]
    path = tmp_path / "story.txt"
    if content is not None:
        path.write_text(content)
    code, out, err = llgen("train", path, "-o", tmp_path / "run")
    assert (code, out) == (1, "")
    first, second = err.splitlines()
    assert message in first
    assert hint in second
    assert not (tmp_path / "run").exists()


def test_a_file_for_a_folder_of_tokens_is_answered_in_words(llgen, tmp_path):
    (tmp_path / "story.txt").write_text("Once upon a time\n")
    code, _, err = llgen("data", "show", tmp_path / "story.txt")
    assert code == 1
    assert "does not hold finished tokens" in err
    assert "Errno" not in err


# -------------------------------------------------------------------------------------------------------------- JSON


def test_a_model_that_does_not_fit_tells_a_program_the_numbers(llgen, tmp_path):
    save_checkpoint(random_checkpoint(), tmp_path / "odd")
    target = tmp_path / "small.toml"
    target.write_text(_SMALL)
    code, out, err = llgen("build", tmp_path / "odd", "--target", target, "-o", tmp_path / "out", "--json")
    told = json.loads(out)["error"]
    assert code == told["exit_code"] == 3
    assert told["region"] == "RAM"
    assert told["needed"] > told["available"] == 12288
    assert 0 < told["fitting_context"] < told["context"]
    for number in (told["needed"], told["available"]):
        assert f"{number:,}" in err
    assert f"--context {told['fitting_context']}" in err
    code, _, _ = llgen(
        "build", tmp_path / "odd", "--target", target, "-o", tmp_path / "out", "--context", told["fitting_context"]
    )
    assert code == 0


def test_a_program_is_told_the_limits_of_an_option(llgen):
    code, out, _ = llgen("build", "m", "--context", "0", "--json")
    told = json.loads(out)["error"]
    assert code == 2
    assert (told["parameter"], told["minimum"], told["maximum"]) == ("--context", 1, None)
    told = json.loads(llgen("build", "m", "--scheme", "q1", "--json")[1])["error"]
    assert (told["parameter"], told["known"]) == ("--scheme", ["f32", "q8", "q4"])
    told = json.loads(llgen("build", "m", "--target", "armv", "--json")[1])["error"]
    assert told["did_you_mean"] == ["armv7", "armv6"]
    assert set(target_names()) < set(told["known"])


def test_a_prompt_that_reads_like_an_option_asks_for_no_json(llgen):
    assert llgen("run", "nowhere", "--", "--json")[1] == ""


def test_what_the_system_refuses_is_told_with_its_file(llgen, monkeypatch):
    def refuse(name):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), "facts.toml")

    monkeypatch.setattr(targets, "load_target", refuse)
    code, out, err = llgen("targets", "--json")
    told = json.loads(out)["error"]
    assert code == told["exit_code"] == 1
    assert told["file"] == "facts.toml"
    assert err == f"llgen: {told['message']}\n" == "llgen: cannot read or write 'facts.toml': Permission denied\n"


_SMALL = """
description = "a Cortex-M3 with little RAM"
isa = ["scalar"]
stdio = "semihosting"
suffix = ".elf"

[compiler]
triple = "thumb-freestanding-eabi"
cpu = "cortex_m3"

[firmware]
core = "cortex_m"
clock_hz = 25_000_000
stack_bytes = 4096

[[firmware.memory]]
name = "FLASH"
origin = 0x0000_0000
length = 0x0040_0000
holds = ["code", "weights"]

[[firmware.memory]]
name = "RAM"
origin = 0x2000_0000
length = 12288
holds = ["data", "state"]
"""
