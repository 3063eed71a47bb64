import hashlib
import json
import pathlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llgen.codegen.build.manifest import current_manifest, publish, read_manifest, write
from llgen.errors import LlgenError, UsageError
from llgen.sole_writer import is_passing, sole_writer
from llgen.whole import file_sha256, private_place, put

FILES = {"a.c": b"int a;\n", "a.h": b"extern int a;\n"}


def state(folder):
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}


def test_writing_twice_writes_nothing_the_second_time(tmp_path):
    folder = tmp_path / "out"
    assert write(FILES, folder, {"x": 1}) == ["a.c", "a.h", "manifest.json"]
    before = state(folder)
    assert write(FILES, folder, {"x": 1}) == []
    assert state(folder) == before


def test_only_what_changed_is_written_and_what_is_stale_goes(tmp_path):
    write(FILES, tmp_path / "out", {})
    assert write({"a.c": b"int a;\n", "b.h": b"\n"}, tmp_path / "out", {}) == ["b.h", "manifest.json"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.c", "b.h", "manifest.json"]


@pytest.mark.parametrize("foreign", ["notes.txt", ".git", "a.c"])
def test_a_folder_with_other_files_is_left_alone(tmp_path, foreign):
    (tmp_path / foreign).write_text("mine")
    with pytest.raises(LlgenError, match=re.escape(f"holds '{foreign}', which llgen did not write")):
        write(FILES, tmp_path, {})
    assert [path.name for path in tmp_path.iterdir()] == [foreign]


def test_a_file_added_by_the_user_is_never_removed(tmp_path):
    write(FILES, tmp_path / "out", {})
    (tmp_path / "out" / "mine.c").write_text("int b;")
    with pytest.raises(LlgenError, match=r"mine\.c"):
        write(FILES, tmp_path / "out", {})
    assert (tmp_path / "out" / "mine.c").read_text() == "int b;"


def write_with_program(files, folder, facts, program):
    with sole_writer(folder), private_place(folder) as place:
        put({**files, "program": program}, place)
        return publish(place, files, folder, facts | {"artifact_sha256": file_sha256(place / "program")}, "program")


@pytest.mark.parametrize("left", [".llgen.new-1a2b", ".llgen.lock"])
def test_what_a_kill_left_is_in_nobodys_way_and_goes(tmp_path, left):
    folder = tmp_path / "out"
    folder.mkdir()
    if left == ".llgen.lock":
        (folder / left).write_text("`llgen build`, process 1\n")
    else:
        (folder / left).mkdir()
        (folder / left / "program").write_bytes(b"half")
    write_with_program(FILES, folder, {}, b"linked")
    assert sorted(path.name for path in folder.iterdir()) == ["a.c", "a.h", "manifest.json", "program"]


@pytest.mark.parametrize("step", range(5))
def test_a_kill_between_two_files_leaves_a_manifest_that_vouches_for_nothing(tmp_path, monkeypatch, step):
    folder = tmp_path / "out"
    write_with_program(FILES, folder, {}, b"the first")
    others = {"a.c": b"int b;\n", "b.h": b"\n"}
    replace, done = pathlib.Path.replace, []

    def killed(source, target):
        if len(done) == step:
            raise KeyboardInterrupt
        done.append(target)
        return replace(source, target)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(pathlib.Path, "replace", killed)
        write_with_program(others, folder, {}, b"the second")
    there = {path.name: path.read_bytes() for path in folder.iterdir()}
    vouched = current_manifest(FILES, folder, {}) or current_manifest(others, folder, {})
    assert (vouched is not None) == (step == 0)
    assert there["program"] in (b"the first", b"the second")
    write_with_program(others, folder, {}, b"the second")
    assert current_manifest(others, folder, {})["artifact_sha256"] == hashlib.sha256(b"the second").hexdigest()
    assert sorted(path.name for path in folder.iterdir()) == ["a.c", "b.h", "manifest.json", "program"]


def test_every_file_is_written_in_a_place_that_a_kill_may_leave(tmp_path, monkeypatch):
    """A name that llgen itself does not know would shut the folder for ever."""
    folder = tmp_path / "out"
    write(FILES, folder, {})
    written, opened, write_bytes = [], pathlib.Path.open, pathlib.Path.write_bytes

    def noted_open(path, mode="r", *options, **more):
        if set("wax+") & set(mode):
            written.append(path)
        return opened(path, mode, *options, **more)

    def noted_write(path, content):
        written.append(path)
        return write_bytes(path, content)

    monkeypatch.setattr(pathlib.Path, "open", noted_open)
    monkeypatch.setattr(pathlib.Path, "write_bytes", noted_write)
    write({"a.c": b"int b;\n", "b.h": b"\n"}, folder, {})
    names = {path.relative_to(folder).parts[0] for path in written}
    assert len(written) > 3
    assert all(is_passing(name) for name in names), names


@pytest.mark.parametrize("text", ["", "{}", "[]", "nonsense", '{"files": 3}'])
def test_a_manifest_that_is_none(tmp_path, text):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(LlgenError, match="is not a manifest of llgen's"):
        write(FILES, tmp_path, {})


def test_a_manifest_cannot_reach_outside_of_its_folder(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "manifest.json").write_text(json.dumps({"files": {"../victim": "", str(victim): ""}, "artifact": None}))
    write(FILES, folder, {})
    assert victim.read_text() == "precious"


def test_a_file_in_the_way(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(UsageError, match="exists and is a file"):
        write(FILES, tmp_path / "out", {})


def test_current_means_files_facts_and_program(tmp_path):
    write_with_program(FILES, tmp_path / "out", {"x": 1, "y": 2}, b"linked")
    program = tmp_path / "out" / "program"
    program.unlink()
    assert not current_manifest(FILES, tmp_path / "out", {"x": 1})
    program.write_text("junk")
    assert not current_manifest(FILES, tmp_path / "out", {"x": 1})
    program.write_bytes(b"linked")
    assert current_manifest(FILES, tmp_path / "out", {"x": 1})
    assert not current_manifest(FILES, tmp_path / "out", {"x": 2})
    assert not current_manifest({**FILES, "a.c": b""}, tmp_path / "out", {"x": 1})
    (tmp_path / "out" / "a.c").write_text("edited")
    assert not current_manifest(FILES, tmp_path / "out", {"x": 1})


@given(
    st.dictionaries(st.sampled_from("abcd"), st.binary(max_size=9)),
    st.dictionaries(st.sampled_from("abcd"), st.binary()),
)
def test_a_folder_holds_exactly_the_last_set(tmp_path_factory, first, second):
    folder = tmp_path_factory.mktemp("set") / "out"
    write(first, folder, {})
    write(second, folder, {})
    manifest = read_manifest(folder)
    found = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "manifest.json"}
    assert found == second
    assert set(manifest["files"]) == set(second)
