"""What the shell offers after Tab."""

import os
import subprocess
import sys

from click.shell_completion import BashComplete

from llgen.codegen.cli.main import group
from llgen.targets.schema import target_names


def completed(*words):
    """What Tab offers for the last of the words."""
    shell = BashComplete(group, {}, "llgen", "_LLGEN_COMPLETE")
    return [(item.type, item.value) for item in shell.get_completions(list(words[:-1]), words[-1])]


def plain(*names):
    return [("plain", name) for name in names]


def test_tab_completes_commands_targets_presets_and_settings():
    assert completed("bu") == plain("build")
    assert completed("data", "pre") == plain("prepare")
    assert completed("build", "m", "--target", "cortex_m3") == plain("cortex_m3", "cortex_m33")
    assert completed("build", "m", "--target=armv") == plain("armv6", "armv7")
    assert set(plain("host", *target_names())) == set(completed("run", "m", "--target", ""))
    assert completed("check", "m", "--target", "host,armv") == plain("host,armv6", "host,armv7")
    assert completed("train", "--preset", "stories-1") == plain("stories-1m", "stories-15m", "stories-110m")
    assert completed("train", "--set", "model.di") == plain("model.dim=")
    assert completed("build", "m", "--scheme", "q") == plain("q8", "q4")
    assert completed("build", "m", "--cont") == plain("--context")
    assert completed("bench", "--shape", "4") == plain("42m")


def test_tab_completes_target_files_and_leaves_other_files_to_the_shell(tmp_path, monkeypatch):
    (tmp_path / "boards").mkdir()
    for name in ("mine.toml", "boards/disco.toml", "boards/notes.txt"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    assert completed("build", "m", "--target", "mi") == plain("mine.toml")
    assert completed("build", "m", "--target", "boards/") == plain("boards/disco.toml")
    assert completed("build", "m", "--target", "else/") == [("file", "else/")]
    assert completed("train", "--data", "tex") == [("file", "tex")]


def test_help_and_completion_of_commands_import_neither_torch_nor_numpy():
    script = (
        "import sys; from llgen.codegen.cli import main\n"
        "try: main()\n"
        "finally: assert not {'torch', 'numpy', 'pydantic'} & set(sys.modules), 'slow'"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run([*command, "--help"], capture_output=True, text=True, check=True)
    assert "tune" in done.stdout
    environment = {**os.environ, "_LLGEN_COMPLETE": "bash_complete", "COMP_WORDS": "llgen t", "COMP_CWORD": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert (done.stdout.split(), done.stderr) == (
        ["plain,train", "plain,tokenizer", "plain,tune", "plain,targets"],
        "",
    )
