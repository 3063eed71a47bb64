"""The schema: shipped targets keep it, and every broken file is refused in words that say what is wrong."""

import re
from importlib.resources import files
from pathlib import Path

import pytest

from llgen.codegen.errors import LlgenError, UsageError
from llgen.codegen.kernels import select
from llgen.targets.schema import Compiler, Firmware, Runner, Target, load_target, parse_target, target_names

INVALID = sorted((Path(__file__).parents[1] / "targets_invalid").glob("*.toml"))


@pytest.mark.parametrize("name", target_names())
def test_shipped_targets_are_valid(name):
    target = load_target(name)
    assert re.fullmatch(r"[a-z0-9_]+", name)
    assert target.isa[-1] == "scalar"
    assert (files("llgen.templates") / "simd" / f"{select(target.isa).isa}.h").is_file()


@pytest.mark.parametrize("path", INVALID, ids=lambda path: path.stem)
def test_invalid_files_are_refused_in_words(path):
    """The first line of each file holds the words that must appear."""
    text = path.read_text(encoding="utf-8")
    words = text.splitlines()[0].removeprefix("# ")
    with pytest.raises(LlgenError) as caught:
        parse_target(text, path.stem, path.name)
    assert words in caught.value.message
    assert path.name in caught.value.message
    assert caught.value.hint


def test_the_targets_of_the_documentation_are_valid():
    text = (Path(__file__).parents[2] / "doc" / "adding-a-target.md").read_text(encoding="utf-8")
    whole = [block for block in re.findall(r"```toml\n(.*?)```", text, re.DOTALL) if "description" in block]
    assert len(whole) == 2
    for block in whole:
        assert parse_target(block, "example", "doc").compiler.triple
    keys = set(re.findall(r"`([a-z_]+(?:\.[a-z_]+)?)`", text))
    for name, field in Target.model_fields.items():
        parts = {"compiler": Compiler, "runner": Runner, "firmware": Firmware}
        known = {f"{name}.{key}" for key in parts[name].model_fields} if name in parts else {name}
        assert name == "name" or known <= keys, field


def test_unknown_names_list_the_known_ones(tmp_path):
    with pytest.raises(UsageError) as caught:
        load_target("pdp11")
    assert "cortex_m4f" in caught.value.hint
    with pytest.raises(UsageError, match="no target file"):
        load_target(str(tmp_path / "none.toml"))


def functions_of(prefix, suffix):
    """The inline functions of every vocabulary whose file ends so, by file."""
    folder = files("llgen.templates") / "simd"
    pattern = re.compile(rf"^V_INLINE\s+[\w ]+[ *]({prefix}\w+)\(", re.MULTILINE)
    return {
        entry.name: set(pattern.findall(entry.read_text(encoding="utf-8")))
        for entry in folder.iterdir()
        if entry.name.endswith(suffix) and ("_int" in entry.name) == ("_int" in suffix)
    }


def test_vocabularies_define_the_same_functions():
    """A kernel is written once over them; of some, a vector of one lane has no need."""
    functions = functions_of("v_", ".h")
    assert len(functions) >= 8
    of_vectors = {"v_whole", "v_times_pow2"}
    cutting = {"v_abs", "v_first", "v_lanes_below", "v_load_first"}
    of_eight_lanes = {"avx2.h": cutting | {"v_sum_of_eight"}, "avx512.h": {"v_sum_of_eight"}}
    for name, found in functions.items():
        needed = functions["sse2.h"] - of_vectors if name in ("scalar.h", "soft.h") else functions["sse2.h"]
        assert found == needed | of_eight_lanes.get(name, set()), name


def test_integer_vocabularies_define_what_the_kernels_call():
    everywhere = {"i_dot", "i_store", "i_mix", "i_no_rows", "i_begin", "i_dot_four", "i_fold", "i_store_rows"}
    of_words = {"i_word", "i_by_of", "i_dot", "i_mix"}  # of four rows, which the kernel itself takes apart
    special = {
        "dsp_int.h": {"i_quad", "i_eight", "i_mix"},
        "words_int.h": of_words,
        "rv32_int.h": of_words,
        "thumb_int.h": {"i_word", "i_dot_all", "i_mix"},
    }
    biased = {"avxvnni_int.h", "avx512vnni_int.h"}  # which take off what their weights have too much
    functions = functions_of("i_", "_int.h")
    assert len(functions) >= 13
    for name, found in functions.items():
        start = "i_from" if name in biased else "i_zero"
        assert special.get(name, everywhere | {start}) <= found, name


def test_float_vocabularies_never_fuse_or_estimate():
    headers = [entry for entry in (files("llgen.templates") / "simd").iterdir() if "_int" not in entry.name]
    for entry in headers:
        text = entry.read_text(encoding="utf-8")
        # But where a product is exact, so that there is nothing to round in between.
        text = "".join(line for line in text.splitlines(keepends=True) if " l_sub_exact(" not in line)
        assert not re.search(r"\w*(vmla|vfma|fn?madd|recpe|rsqrte|relaxed)\w*\(", text), entry.name
