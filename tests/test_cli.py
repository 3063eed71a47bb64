"""The commands as a user runs them."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from commands import LLGEN, WITHOUT_TORCH, shell
from models import trained_vocabulary
from patience import PATIENCE

from llgen.codegen.render import pipeline
from llgen.codegen.render.files import render

# ------------------------------------------------------------------------------------------------------------- build


def test_build_writes_compiles_and_says_what_it_takes(llgen, fox, tmp_path):
    code, out, err = llgen("build", fox, "-o", tmp_path / "out")
    assert (code, out) == (0, "")
    names = ["fox.h", "fox.c", "fox_forward.c", "fox_tokenizer.c", "fox_weights.c", "main.c"]
    for name in [*names, "Makefile", "README.md", "manifest.json"]:
        assert f"out/{name}" in err
        assert (tmp_path / "out" / name).is_file()
    for word in ("flash", "RAM", "stack", "digest"):
        assert word in err
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    code, _, err = llgen("build", fox, "-o", tmp_path / "out")
    assert code == 0
    assert "up to date" in err
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()} == before


def test_build_answers_programs(llgen, fox, tmp_path):
    code, out, _ = llgen("build", fox, "-o", tmp_path / "out", "--json", "--name", "Story-1", "--context", 20)
    answer = json.loads(out)
    assert code == 0
    assert {
        "model",
        "target",
        "scheme",
        "digest",
        "flash_bytes",
        "ram_bytes",
        "stack_bytes",
        "files",
        "artifact",
    } <= set(answer)
    assert (answer["model"], answer["scheme"], answer["context"]) == ("fox", "f32", 20)
    assert "story_1.h" in answer["files"]
    assert answer["flash_bytes"] > sum(answer["rodata_bytes"].values())
    done = subprocess.run([answer["artifact"], "--selftest", "20"], capture_output=True, text=True, check=True)
    assert f"digest {answer['digest']}" in done.stdout
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["digest"] == answer["digest"]
    assert str(tmp_path) not in (tmp_path / "out" / "manifest.json").read_text()


def test_a_build_that_fails_leaves_the_folder_as_it_was(llgen, fox, tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    code, out, err = llgen("build", fox, "-o", tmp_path)
    assert (code, out) == (1, "")
    assert "holds 'mine.txt', which llgen did not write" in err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


# --------------------------------------------------------------------------------------------------------------- run


def test_run_puts_text_and_nothing_else_on_standard_output(fox):
    done = shell("run", fox, "the fox", "-s", 7, "-n", 30)
    assert done.returncode == 0
    assert done.stdout.startswith("the fox")
    assert "seed 7" in done.stderr
    again = shell("run", fox, "the fox", "-s", 7, "-n", 30, "--json")
    answer = json.loads(again.stdout)
    assert answer["text"] + "\n" == done.stdout
    assert len(answer["prompt_tokens"]) + len(answer["tokens"]) <= 30
    assert {"tokens_per_second", "seed", "target", "scheme"} <= set(answer)
    quiet = shell("run", fox, "the fox", "-s", 7, "-n", 30, "-q")
    assert (quiet.stdout, quiet.stderr) == (done.stdout, "")


def test_the_prompt_comes_by_argument_file_or_standard_input(fox, tmp_path):
    (tmp_path / "prompt.txt").write_bytes("the Bär".encode())
    options = ("-t", 0, "-n", 20, "-q")
    by_argument = shell("run", fox, "the Bär", *options).stdout
    assert by_argument.startswith("the Bär")
    assert shell("run", fox, "-f", tmp_path / "prompt.txt", *options).stdout == by_argument
    assert shell("run", fox, "-", *options, input="the Bär").stdout == by_argument


def test_run_by_tokens(llgen, fox, mute):
    code, out, _ = llgen("run", fox, "--tokens", "1,300,301", "-t", 0, "-n", 10, "--ignore-eos", "--json")
    answer = json.loads(out)
    assert code == 0
    assert answer["prompt_tokens"] == [1, 300, 301]
    assert len(answer["tokens"]) == 7
    code, out, _ = llgen("run", mute, "--tokens", "1,2", "-t", 0, "-n", 10, "--ignore-eos", "--json")
    assert (code, len(json.loads(out)["tokens"])) == (0, 8)


def test_greedy_and_seeded_runs_repeat(fox):
    for options in (("-t", 0), ("-t", 1, "-k", 5, "-s", 3), ("-t", 1.5, "-p", 0.8, "-s", 2**64 - 1)):
        first, second = (shell("run", fox, "a", "-n", 40, *options, "-q").stdout for _ in range(2))
        assert first == second


def test_a_reader_that_goes_away_is_no_failure(fox):
    command = " ".join(f"'{word}'" for word in [*LLGEN, "run", str(fox), "the fox", "-s", "1"])
    done = subprocess.run(f"{command} | head -c 5; exit ${{PIPESTATUS[0]}}", shell=True, executable="/bin/bash",
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


# ------------------------------------------------------------------------------------------------------------- check


def test_check_proves_equality(llgen, fox):
    code, out, _ = llgen("check", fox)
    assert code == 0
    assert "equal" in out
    code, out, _ = llgen("check", fox, "--json", "--positions", 9)
    answer = json.loads(out)
    row = answer["targets"][0]
    assert (row["equal"], row["digest"], row["first_difference"]) == (True, answer["reference_digest"], None)
    assert {
        "target",
        "digest",
        "equal",
        "skipped",
        "first_difference",
        "instructions_per_token",
        "flash_bytes",
        "ram_bytes",
    } <= set(row)
    assert set(answer["torch"] or ()) <= {"max_difference", "kl", "top1"}


def test_check_names_the_first_difference_and_exits_4(llgen, fox, tmp_path, monkeypatch):
    def sabotaged(*arguments):
        files = render(*arguments)
        return {
            path: text.replace(b"f_div(1.0f, v_sqrt1", b"f_div(1.001f, v_sqrt1") for path, text in files.items()
        }

    monkeypatch.setattr(pipeline, "render", sabotaged)
    monkeypatch.setenv("ZIG_GLOBAL_CACHE_DIR", os.environ.get("ZIG_GLOBAL_CACHE_DIR", str(_zig_cache())))
    monkeypatch.setenv("LLGEN_CACHE_DIR", str(tmp_path))  # else the sound build of the same model would be found
    code, out, _ = llgen("check", fox, "--positions", 5, "--no-torch")
    assert code == 4
    assert "DIFFERS at position 0, layer 0, attention_norm[0]" in out


def _zig_cache():
    from llgen.codegen.compile.toolchain import cache_directory

    return cache_directory() / "zig"


@pytest.mark.parametrize("command", [["build", "-o", "out"], ["run", "-n", "9", "-t", "0"], ["check"], ["inspect"]])
def test_nothing_but_training_needs_torch(fox, tmp_path, command):
    name, *options = command
    done = shell(name, fox, *options, command=WITHOUT_TORCH, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


# ------------------------------------------------------------------------------------------------- inspect and doctor


@pytest.mark.parametrize("stage", ["spec", "quant", "plan", "kernels", "words"])
def test_inspect_prints_every_box(llgen, fox, stage):
    code, out, _ = llgen("inspect", fox, "--stage", stage)
    assert code == 0
    assert len(out) > 50
    code, out, _ = llgen("inspect", fox, "--stage", stage, "--json")
    assert code == 0
    assert isinstance(json.loads(out), dict)


def test_doctor(llgen):
    code, out, _ = llgen("doctor")
    assert code == 0
    assert "zig cc" in out
    code, out, _ = llgen("doctor", "--json")
    assert json.loads(out)["good"]


def test_help_and_version(llgen):
    assert "build" in llgen("--help")[1]
    assert llgen("--version")[1].startswith("llgen, version")


# --------------------------------------------------------------------------------------------------- the world outside


def test_a_damaged_program_is_built_again(llgen, fox, tmp_path):
    llgen("build", fox, "-o", tmp_path / "out")
    (tmp_path / "out" / "fox").write_text("junk")
    code, _, err = llgen("build", fox, "-o", tmp_path / "out")
    assert code == 0
    assert "up to date" not in err
    assert (tmp_path / "out" / "fox").read_bytes() != b"junk"


def test_an_output_that_takes_no_more_is_a_failure(fox):
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*LLGEN, "run", str(fox), "the fox"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 1
    assert "takes no more" in done.stderr
    done = subprocess.run(
        " ".join(f"'{word}'" for word in [*LLGEN, "targets", "--json"]) + " | true; exit ${PIPESTATUS[0]}",
        shell=True, executable="/bin/bash", capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def test_a_cache_that_cannot_be_written_is_said(fox):
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ZIG_")}
    done = shell("run", fox, "a", env={**environment, "LLGEN_CACHE_DIR": "/proc/llgen"}, timeout=PATIENCE)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    done = shell("doctor", env={**environment, "LLGEN_CACHE_DIR": "/proc/llgen"}, timeout=PATIENCE)
    assert done.returncode == 1
    assert "MISSING cache folder" in done.stdout


def test_a_model_whose_name_is_no_identifier_runs(fox, tmp_path):
    shutil.copytree(fox, tmp_path / "3 füchse")
    assert shell("run", tmp_path / "3 füchse", "a", "-n", 9, "-q").returncode == 0


@pytest.mark.parametrize("name", ["time", "div", "while", "s"])
def test_a_model_of_a_name_that_c_owns_runs_and_is_built_under_another(llgen, fox, tmp_path, name):
    model = tmp_path / name
    shutil.copytree(fox, model)
    code, out, err = llgen("run", model, "the", "-n", 9, "-s", 1)
    assert (code, out[:3]) == (0, "the"), err
    code, _, err = llgen("build", model, "-o", tmp_path / "out")
    assert code == 0
    assert f"the prefix of the C is 'llm_{name}'" in err
    assert (tmp_path / "out" / f"llm_{name}.h").is_file()


def test_every_prompt_that_fits_is_taken(llgen, fox):
    """A word has room while it is being merged, up to the very end of the context."""
    text = "the little fox asked: Where is my red ball"
    tokens = 1 + len(trained_vocabulary().encode(text))
    code, out, _ = llgen("run", fox, text, "--context", tokens, "-t", 0, "--json")
    assert code == 0
    assert len(json.loads(out)["prompt_tokens"]) == tokens
    assert llgen("run", fox, text, "--context", tokens - 1, "-t", 0)[0] == 1


def test_the_flags_that_keep_the_bits_outlive_cflags(fox, llgen, tmp_path):
    llgen("build", fox, "-o", tmp_path / "out")
    done = subprocess.run(
        ["make", "-Bn", "CFLAGS=-O0"], cwd=tmp_path / "out", capture_output=True, text=True, check=True
    )
    assert "-O0" in done.stdout
    assert "-ffp-contract=off" in done.stdout


# ------------------------------------------------------------------------------------------------------- wrong input

WRONG = {
    "no such model": (["build", "nowhere"], 1, "there is no model directory 'nowhere'"),
    "no such command": (["bild"], 2, "there is no command 'bild'; did you mean 'build'?"),
    "no such target": (["build", "{fox}", "--target", "z80"], 2, "there is no target 'z80'"),
    "no such scheme": (["build", "{fox}", "--scheme", "q1"], 2, "'q1' is not"),
    "context too long": (["build", "{fox}", "--context", "76"], 1, "a context of 76 was asked for"),
    "context of nothing": (["build", "{fox}", "--context", "0"], 2, "x>=1"),
    "bad prefix": (["build", "{fox}", "--name", "7up"], 2, "'7up' cannot be the prefix of C: it must begin"),
    "keyword": (["build", "{fox}", "--name", "while"], 2, "while is a keyword of C or C++"),
    "prompt too long": (["run", "{fox}", "x" * 600], 1, "the context has 75 positions"),
    "prompt without tokenizer": (["run", "{mute}", "hello"], 2, "'mute' has no tokenizer"),
    "two prompts": (["run", "{fox}", "hello", "--tokens", "1"], 2, "exclude each other"),
    "zero byte": (["run", "{fox}", "-f", "{zero}"], 1, "zero byte"),
    "temperature": (["run", "{fox}", "a", "-t", "-1"], 2, "--temperature is -1.0"),
    "not a number": (["run", "{fox}", "a", "-t", "nan"], 2, "--temperature is nan"),
    "top p": (["run", "{fox}", "a", "-p", "1.5"], 2, "--top-p is 1.5"),
    "seed": (["run", "{fox}", "a", "-s", "-1"], 2, "-1"),
    "too many positions": (["run", "{fox}", "a", "-n", "76"], 2, "the context has 75"),
    "top k": (["run", "{fox}", "a", "-k", "99999999999"], 2, "99999999999"),
    "no tokens": (["run", "{fox}", "--tokens", ""], 2, "--tokens is empty"),
    "reserved prefix": (["build", "{fox}", "--name", "exp"], 2, "<math.h> declares exp"),
    "positions to check": (["check", "{fox}", "--positions", "76"], 2, "the context has 75"),
    "empty digest": (["check", "{fox}", "--digest", ""], 1, "digest"),
    "unwritable output": (["build", "{fox}", "-o", "/proc/llgen"], 1, "cannot write '/proc/llgen'"),
    "no prompt to bake": (["build", "{fox}", "--bake-prompt", "nowhere"], 1, "cannot read 'nowhere'"),
    "nothing to bake": (["run", "{fox}", "--bake-prompt", "{empty}"], 1, "holds no text"),
    "prompt to bake that is no UTF-8": (["check", "{fox}", "--bake-prompt", "{latin}"], 1, "not UTF-8 at byte 1"),
    "prompt to bake too long": (["build", "{fox}", "--bake-prompt", "{long}"], 3, "the context has 75"),
    "prompt to bake without tokenizer": (["run", "{mute}", "--bake-prompt", "{latin}"], 2, "'mute' has no tokenizer"),
    "prompt behind a baked one": (["run", "{fox}", "x" * 72, "--bake-prompt", "{short}"], 1, "baked tokens"),
    "tokens ahead": (["run", "{fox}", "--speculate", "64"], 2, "64 is not in the range"),
    "more ahead than a block": (["build", "{fox}", "--speculate", "4", "--prefill", "4"], 2, "makes blocks of 4"),
    "more ahead than the context": (["check", "{fox}", "--speculate", "9", "--context", "9"], 2, "the context has 9"),
    "foreign token": (["run", "{fox}", "--tokens", "9999"], 1, "ids of the vocabulary"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_gets_one_clear_line(llgen, fox, mute, tmp_path, monkeypatch, case):
    arguments, expected, message = WRONG[case]
    monkeypatch.chdir(tmp_path)
    contents = {"zero": b"a\0b", "empty": b"", "latin": b"B\xe4r", "long": b"x" * 200, "short": b"the little fox"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    places = {"fox": fox, "mute": mute} | {name: tmp_path / name for name in contents}
    code, out, err = llgen(*[argument.format(**places) for argument in arguments])
    assert (code, out) == (expected, "")
    assert message in err
    assert "Traceback" not in err
    assert len([line for line in err.splitlines() if not line.startswith("  try: ")]) == 1
    code, out, again = llgen(*[argument.format(**places) for argument in arguments], "--json")
    told = json.loads(out)["error"]
    assert (code, told["exit_code"], again) == (expected, expected, err)
    assert message in told["message"]
    assert told["hint"] is None or told["hint"] in err
    assert {path.name for path in tmp_path.iterdir()} == set(contents)


def test_a_traceback_is_there_for_those_who_ask(fox, tmp_path):
    environment = {**os.environ, "LLGEN_DEBUG": "1"}
    done = shell("build", tmp_path, env=environment)
    assert "Traceback" in done.stderr
