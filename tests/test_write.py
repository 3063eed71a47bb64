import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llgen.codegen.errors import LlgenError
from llgen.codegen.write import current_manifest, file_sha256, read_manifest, unfinished, write

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


def test_a_program_that_a_kill_left_half_linked_is_in_nobodys_way(tmp_path):
    folder = tmp_path / "out"
    write(FILES, folder, {}, "fox")
    unfinished(folder / "fox").write_bytes(b"half")
    write(FILES, folder, {"x": 2}, "fox")
    assert current_manifest(FILES, folder, {"x": 3}) is None


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
    with pytest.raises(LlgenError, match="is a file"):
        write(FILES, tmp_path / "out", {})


def test_current_means_files_facts_and_program(tmp_path):
    program = tmp_path / "program"
    program.write_text("linked")
    write(FILES, tmp_path / "out", {"x": 1, "y": 2, "artifact_sha256": file_sha256(program)}, "program")
    assert not current_manifest(FILES, tmp_path / "out", {"x": 1})
    (tmp_path / "out" / "program").write_text("junk")
    assert not current_manifest(FILES, tmp_path / "out", {"x": 1})
    program.replace(tmp_path / "out" / "program")
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
