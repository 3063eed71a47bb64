"""One llgen at a time writes a folder, and files appear whole or not at all."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from llgen import sole_writer as module
from llgen.errors import LlgenError
from llgen.notices import gathered
from llgen.sole_writer import LOCK, sole_writer, sole_writer_of_file
from llgen.whole import cannot_write, clear_unfinished, private_place, replacing

HOLD = """
import sys, time
from pathlib import Path
from llgen.sole_writer import sole_writer
with sole_writer(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


@contextmanager
def held_elsewhere(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process has the lock until it is killed."""
    words = [sys.executable, "-c", HOLD, str(folder)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def until(holds: Callable[[], bool]) -> None:
    while not holds():
        threading.Event().wait(0.01)


def test_the_lock_of_a_process_that_was_killed_is_free(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    with ThreadPoolExecutor(1) as pool, gathered() as said, held_elsewhere(folder) as process:

        def write() -> list[str]:
            with sole_writer(folder):
                return [entry.name for entry in folder.iterdir()]

        waits = pool.submit(write)
        until(lambda: bool(said))
        assert not waits.done()
        assert said[0].startswith("waiting for `-c ")
        assert said[0].endswith(f"process {process.pid}, which writes to '{folder}'")
        process.kill()
        assert waits.result() == [LOCK]
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("spelling", ["out/../out", "link", "linked parent/out"])
def test_one_folder_has_one_lock_however_it_is_called(tmp_path: Path, spelling: str) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "link").symlink_to("out")
    (tmp_path / "linked parent").symlink_to(tmp_path)
    inside: list[str] = []

    def write(path: Path) -> None:
        with sole_writer(path):
            inside.append("in")
            threading.Event().wait(0.05)
            inside.append("out")

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(write, [tmp_path / "out", tmp_path / spelling]))
    assert inside == ["in", "out", "in", "out"]


def test_many_that_race_come_one_after_the_other(tmp_path: Path) -> None:
    """Also where the folder vanishes each time, because nothing was written to it."""
    busy: list[int] = []

    def write(number: int) -> None:
        with sole_writer(tmp_path / "a" / "b"):
            assert not busy
            busy.append(number)
            threading.Event().wait(0.002)
            busy.remove(number)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(40)))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_folder_that_vanishes_between_two_looks_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, look = tmp_path / "out", Path.stat
    folder.mkdir()

    def looked_at_once(path: Path, **how: Any) -> os.stat_result:
        found = look(path, **how)
        if path == folder:
            folder.rmdir()
        return found

    monkeypatch.setattr(Path, "stat", looked_at_once)
    module.require_no_file(folder)


def test_a_folder_that_vanishes_while_it_is_made_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, make, calls = tmp_path / "out", Path.mkdir, []

    def vanishing(path: Path, *how: Any, **more: Any) -> None:
        calls.append(path)
        if calls == [folder]:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
        make(path, *how, **more)

    monkeypatch.setattr(Path, "mkdir", vanishing)
    with sole_writer(folder):
        assert (folder / LOCK).exists()
    assert calls[:2] == [folder, folder]


def test_a_file_in_the_place_of_a_files_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LlgenError, match="cannot write"), sole_writer_of_file(tmp_path / "file" / "x"):
        pass


def test_a_thread_may_take_its_lock_again(tmp_path: Path) -> None:
    with sole_writer(tmp_path), sole_writer(tmp_path / "." / ".." / tmp_path.name):
        assert (tmp_path / LOCK).exists()
    with sole_writer_of_file(tmp_path / "x"), sole_writer_of_file(tmp_path / "x"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_who_lets_go_of_a_lock_leaves_the_next_holders_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release = module.FileLock.release

    def next_holder_came_first(lock: module.FileLock, force: bool = False) -> None:
        if lock.is_locked:  # a lock that is deleted is released again
            (tmp_path / LOCK).write_text("the next holder's")  # it needs no more than the name, which is free by now
        release(lock, force)

    monkeypatch.setattr(module.FileLock, "release", next_holder_came_first)
    with sole_writer(tmp_path):
        pass
    assert (tmp_path / LOCK).read_text() == "the next holder's"


def test_a_command_that_is_refused_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(LlgenError), sole_writer(tmp_path / "a" / "b"):
        raise LlgenError("refused")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "kept").mkdir()
    with sole_writer(tmp_path / "kept"):
        pass
    assert (tmp_path / "kept").is_dir()


def test_a_folder_in_one_that_is_read_only_can_be_written(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write to every folder")
    (tmp_path / "out").mkdir()
    tmp_path.chmod(0o555)
    try:
        with sole_writer(tmp_path / "out"), private_place(tmp_path / "out") as place:
            (place / "x").write_text("x")
        with pytest.raises(LlgenError, match="cannot write"), sole_writer(tmp_path / "other"):
            pass
    finally:
        tmp_path.chmod(0o755)


def test_a_folder_that_cannot_be_made_is_refused_at_once() -> None:
    with pytest.raises(LlgenError, match="cannot write '/proc/llgen/x': "), sole_writer(Path("/proc/llgen/x")):
        pass


def test_a_file_system_without_locks_is_named_and_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def acquire(lock: object, timeout: float) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(module.FileLock, "acquire", acquire)
    with gathered() as said, sole_writer(tmp_path):
        pass
    assert said == [f"the file system of '{tmp_path}' has no locks: do not let another llgen write there"]


# ------------------------------------------------------------------------------------------------------------ files


@pytest.mark.parametrize("error", [RuntimeError("no"), KeyboardInterrupt()], ids=["failure", "Ctrl-C"])
def test_a_file_that_was_not_finished_leaves_the_old_one(tmp_path: Path, error: BaseException) -> None:
    (tmp_path / "x").write_text("old")
    with pytest.raises(type(error)), replacing(tmp_path / "x") as temporary:
        temporary.write_text("half")
        raise error
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"x": "old"}


def test_what_a_kill_left_of_a_file_makes_room_for_the_next_try(tmp_path: Path) -> None:
    (tmp_path / ".x.new").mkdir()
    (tmp_path / ".x.new" / "half").write_text("half")
    with replacing(tmp_path / "x") as temporary:
        temporary.write_text("new")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"x": "new"}


def test_a_compiler_that_outlives_its_llgen_writes_nowhere(tmp_path: Path) -> None:
    (tmp_path / ".llgen.new-left").mkdir()  # of a build that was killed, whose linker still runs
    with private_place(tmp_path) as place:
        assert place.name != ".llgen.new-left"
        assert list(tmp_path.iterdir()) == [place]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="Windows keeps a folder that another process works in")
@pytest.mark.parametrize("way", ["by the path of the place", "from within the place"])
def test_a_place_goes_while_a_compiler_still_writes_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """Each time a folder is about to be removed a compiler adds a file: by the path always, from within three times."""
    left = tmp_path / ".llgen.new-left"
    left.mkdir()
    within = os.open(left, os.O_RDONLY)
    rmdir, removals = os.rmdir, []

    def late(path: str, **rest: Any) -> None:
        removals.append(path)
        if way == "by the path of the place":
            with suppress(FileNotFoundError):
                (left / f"{len(removals)}.o").touch()
        elif len(removals) <= 3:
            os.close(os.open(f"{len(removals)}.o", os.O_CREAT, dir_fd=within))
        rmdir(path, **rest)

    monkeypatch.setattr(os, "rmdir", late)
    try:
        clear_unfinished(tmp_path)
    finally:
        os.close(within)
    assert removals
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_renamed_goes_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def rename(path: Path, target: Path) -> Path:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    (tmp_path / ".llgen.new-left").mkdir()
    (tmp_path / ".llgen.new-left" / "half").touch()
    monkeypatch.setattr(Path, "rename", rename)
    clear_unfinished(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (errno.ENOSPC, r"no space left, [\d,]+ of [\d,]+ bytes are free$"),
        (errno.EDQUOT, "your disk quota is used up$"),
        (errno.EFBIG, "a file may have .* here$"),
        (errno.EROFS, "Read-only file system$"),
    ],
)
def test_what_the_system_refuses_is_one_line_with_the_limit_and_a_next_step(
    tmp_path: Path, number: int, says: str
) -> None:
    error = cannot_write(tmp_path / "a" / "b", OSError(number, os.strerror(number)))
    assert error.message.startswith(f"cannot write '{tmp_path / 'a' / 'b'}': ")
    assert error.hint
    with pytest.raises(LlgenError, match=says):
        raise error
