"""`targets`, `check` of many targets and of devices, `bench`, and what they say when an emulator is missing."""

import json
import os
import shutil
import threading
import time
from contextlib import suppress

import pytest
from patience import PATIENCE

from llgen.codegen.build.folder import expected_trace
from llgen.codegen.cli import bench, check
from llgen.codegen.formats.hf.directory import load_checkpoint
from llgen.codegen.model.spec import lower
from llgen.codegen.quantise.quantize import quantize
from llgen.codegen.run import emulator
from llgen.targets.schema import Target, load_target, target_names


@pytest.fixture
def digest(fox):
    """What Python computes for the model, 64 positions."""
    return expected_trace(quantize(lower(load_checkpoint(fox)), "f32"), 64).digest_hex


def test_targets_lists_all(llgen):
    code, out, _ = llgen("targets")
    assert code == 0
    assert len(out.splitlines()) == len(target_names()) + 1
    code, out, _ = llgen("targets", "--json")
    answer = json.loads(out)
    assert [row["name"] for row in answer["targets"]] == target_names()
    assert answer["host"] == load_target("host").name
    rows = {row["name"]: row for row in answer["targets"]}
    assert rows[answer["host"]]["runnable"]
    assert not rows["windows_x86_64"]["runnable"]
    assert rows["wasm32_wasi"]["runs_with"] == "wasmtime"


def test_a_missing_emulator_names_its_package(llgen, fox, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(emulator, "find_spec", lambda name: None)
    for name, words in {
        "armv7": "apt-get install qemu-user",
        "cortex_m3": "apt-get install qemu-system-arm",
        "riscv32_imac": "apt-get install qemu-system-misc",
        "wasm32_web": "apt-get install nodejs",
        "wasm32_wasi": "pip install wasmtime",
    }.items():
        assert words in emulator.missing_emulator(load_target(name))
    code, _, err = llgen("run", fox, "the", "--target", "cortex_m3")
    assert code == 1
    assert "apt-get install qemu-system-arm" in err
    code, out, _ = llgen("doctor")
    assert "apt-get install qemu-user" in out
    assert "pip install wasmtime" in out


def small_board():
    """A board named `small`, with too little memory for the fox's context."""
    facts = load_target("cortex_m4f").model_dump()
    facts["name"] = "small"
    facts["firmware"]["memory"][1]["length"] = 0x4000
    return Target.model_validate(facts)


def test_check_of_many_targets_is_one_table(llgen, fox, digest, runnable, monkeypatch, tmp_path):
    """Two targets and a board of too little memory, which gets the context that fits."""
    known = {"x86_64": load_target("x86_64"), "cortex_m4f": runnable("cortex_m4f"), "small": small_board()}
    known["windows_x86_64"] = load_target("windows_x86_64")
    monkeypatch.setattr(check, "target_names", lambda: list(known))
    monkeypatch.setattr(check, "load_target", known.__getitem__)
    code, out, err = llgen("check", fox, "--target", "all", "--no-torch", "--json", "--positions", 40)
    assert code == 0, err
    rows = {row["target"]: row for row in json.loads(out)["targets"]}
    assert rows["x86_64"]["equal"]
    assert rows["cortex_m4f"]["equal"]
    assert rows["small"]["equal"]
    assert rows["small"]["context"] < rows["cortex_m4f"]["context"]
    assert rows["cortex_m4f"]["instructions_per_token"] > 10_000
    assert rows["windows_x86_64"]["equal"] is None
    assert "not run" in rows["windows_x86_64"]["skipped"]
    assert all(row["flash_bytes"] and row["ram_bytes"] for row in rows.values())


@pytest.fixture
def small(monkeypatch):
    """A board named `small`, with too little memory for the fox's context; other names are what they always are."""
    board = small_board()

    def load(name):
        return board if name == "small" else load_target(name)

    for module in (check, bench):
        monkeypatch.setattr(module, "load_target", load)


def test_one_of_several_targets_that_does_not_fit_is_reported_and_the_others_checked(llgen, fox, small):
    code, out, err = llgen(
        "check", fox, "--target", "small", "--target", "x86_64", "--no-torch", "--json", "--positions", 9
    )
    assert code == 3, err
    first, second = json.loads(out)["targets"]
    assert (first["target"], first["fits"], first["equal"]) == ("small", False, None)
    assert "'small' has 16,384" in first["skipped"]
    assert (second["target"], second["fits"], second["equal"]) == ("x86_64", True, True)
    code, _, err = llgen("check", fox, "--target", "small", "--no-torch")
    assert code == 3
    assert "try: --context" in err


@pytest.fixture
def all_targets(monkeypatch):
    """Make `all` stand for the targets that the test names, and for a board `tiny` that no context fits."""
    facts = load_target("cortex_m4f").model_dump()
    facts["name"] = "tiny"
    facts["firmware"]["memory"][0]["length"] = 0x400
    tiny = Target.model_validate(facts)

    def stand_for(*names):
        monkeypatch.setattr(check, "target_names", lambda: list(names))
        monkeypatch.setattr(check, "load_target", lambda name: tiny if name == "tiny" else load_target(name))

    return stand_for


def test_the_last_line_names_the_targets_that_did_not_run(llgen, fox, all_targets):
    all_targets("tiny", "windows_x86_64", "x86_64")
    code, out, err = llgen("check", fox, "--target", "all", "--no-torch", "--positions", 5)
    assert code == 0, err
    assert out.splitlines()[-1] == "1 of 3 targets equal; does not fit: tiny; not run: windows_x86_64"
    code, out, _ = llgen("check", fox, "--target", "x86_64,generic", "--no-torch", "--positions", 5)
    assert code == 0
    assert out.splitlines()[-1] == "2 of 2 targets equal"


@pytest.mark.parametrize(("names", "expected"), [(["tiny"], 3), (["tiny", "windows_x86_64"], 1)])
def test_a_check_in_which_nothing_ran_is_no_success(llgen, fox, all_targets, names, expected):
    all_targets(*names)
    code, out, _ = llgen("check", fox, "--target", "all", "--no-torch", "--positions", 5)
    assert code == expected
    assert out.count("equal") == (0 if len(names) == 1 else 1)  # that of "0 of 2 targets equal"


def test_one_of_several_targets_that_does_not_fit_is_left_out_of_a_benchmark(llgen, fox, small, runnable):
    runnable("cortex_m3")
    words = ["bench", fox, "--positions", 3, "--prefill", 0, "--json", "--target"]
    code, out, err = llgen(*words, "small,cortex_m3")
    assert code == 3, err
    answer = json.loads(out)
    assert [row["target"] for row in answer["instructions"]] == ["cortex_m3"]
    assert any(note.startswith("left out: 'fox' needs") and "'small' has" in note for note in answer["notes"])
    code, out, err = llgen(*words, "small")
    assert (code, json.loads(out)["error"]["exit_code"]) == (3, 3)
    assert "try: --context" in err


def test_a_devices_digest_is_compared(llgen, fox, digest):
    code, out, _ = llgen("check", fox, "--no-torch", "--digest", f"0x{digest.upper()}")
    assert code == 0
    assert "equal" in out
    code, out, _ = llgen("check", fox, "--no-torch", "--digest", "01234567")
    assert code == 4
    assert "DIFFERS" in out
    code, _, err = llgen("check", fox, "--no-torch", "--digest", "384eba")
    assert code == 1
    assert "eight hexadecimal digits" in err
    code, _, err = llgen("check", fox, "--no-torch", "--digest", digest, "--serial", "x")
    assert code == 2
    assert "exclude each other" in err


def test_a_device_is_read_over_a_serial_line(llgen, fox, digest):
    pytest.importorskip("serial", reason="pip install pyserial")
    device, line = os.openpty()
    os.set_blocking(device, False)
    done = threading.Event()

    def start():
        """As often as the device is reset: what it says before the port is opened is lost."""
        while not done.is_set():
            for words in (b"noise\xff\r\n", b"tokens 1 2 3\r\ndig", b"est " + digest.encode() + b"\r\n"):
                time.sleep(0.05)
                with suppress(BlockingIOError):
                    os.write(device, words)

    thread = threading.Thread(target=start, daemon=True)
    thread.start()
    code, out, err = llgen("check", fox, "--no-torch", "--serial", os.ttyname(line), "--timeout", PATIENCE)
    done.set()
    thread.join()
    os.close(device)
    os.close(line)
    assert code == 0, err
    assert "equal" in out


def test_a_silent_or_missing_serial_line_is_told(llgen, fox):
    pytest.importorskip("serial", reason="pip install pyserial")
    code, _, err = llgen("check", fox, "--no-torch", "--serial", "/dev/llgen-none")
    assert code == 1
    assert "cannot open the serial port '/dev/llgen-none'" in err
    device, line = os.openpty()
    code, _, err = llgen("check", fox, "--no-torch", "--serial", os.ttyname(line), "--timeout", "0.5")
    os.close(device)
    os.close(line)
    assert code == 1
    assert "within 0.5 seconds" in err


@pytest.mark.parametrize("name", ["aarch64", "armv6", "riscv32", "cortex_m4f", "riscv32_imac", "wasm32_wasi"])
def test_instructions_are_counted_and_repeat(name, llgen, fox, runnable):
    runnable(name)
    found = []
    for _ in range(2):
        code, out, err = llgen(
            "bench", fox, "--target", name, "--positions", 16, "--prefill", 8, "--rounds", 1, "--json"
        )
        assert code == 0, err
        answer = json.loads(out)
        assert bool(answer["results"]) == (name == "wasm32_wasi")  # which alone is compiled, not emulated
        decode, prefill = (row["instructions_per_token"] for row in answer["instructions"])
        assert 10_000 < prefill < decode  # one classifier in place of eight
        found.append(answer["instructions_per_token"])
        assert found[-1] == decode
    assert found[0] == pytest.approx(found[1], rel=0.001)
