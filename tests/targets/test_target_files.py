"""The schema: shipped targets keep it, and every broken file is refused in words that say what is wrong."""

import re
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

import pytest

from llgen.errors import LlgenError, UsageError
from llgen.targets.instruction_sets import LANES, load_set, select
from llgen.targets.schema import Compiler, Firmware, Runner, Target, load_target, parse_target, target_names

INVALID = sorted((Path(__file__).parents[1] / "targets_invalid").glob("*.toml"))


@pytest.mark.parametrize("name", target_names())
def test_shipped_targets_are_valid(name):
    target = load_target(name)
    assert re.fullmatch(r"[a-z0-9_]+", name)
    assert target.isa[-1] == "scalar"
    assert select(target.isa).text_of("float.h")
    words = target.runner.argv if target.runner else ()
    modules = [words[at + 1] for at, word in enumerate(words) if word == "-m" and words[0] == "{python}"]
    assert all(find_spec(module) for module in modules)


def test_targets_with_the_same_triple_share_a_c_library():
    """zig needs a minute to build one."""
    compilers = [target.compiler for target in map(load_target, target_names()) if target.stdio == "hosted"]
    libraries = {(compiler.triple, compiler.libc_cpu or compiler.cpu) for compiler in compilers if compiler.triple}
    assert len(libraries) == len({triple for triple, _ in libraries})


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
        assert name in ("name", "source") or known <= keys, field


def test_unknown_names_list_the_known_ones(tmp_path):
    with pytest.raises(UsageError) as caught:
        load_target("pdp11")
    assert "llgen targets" in caught.value.hint
    assert "cortex_m4f" in caught.value.facts["known"]
    with pytest.raises(UsageError, match="no target file"):
        load_target(str(tmp_path / "none.toml"))
    (tmp_path / "board.toml").touch()
    with pytest.raises(UsageError, match=r"no target file '.*bord\.toml'; did you mean 'board\.toml'\?"):
        load_target(tmp_path / "bord.toml")


def test_a_board_without_a_gcc_of_its_own_has_that_of_its_core(tmp_path):
    text = (files("llgen.targets") / "cortex_m4f.toml").read_text()
    (tmp_path / "board.toml").write_text("".join(line for line in text.splitlines(True) if not line.startswith("gcc")))
    assert load_target(tmp_path / "board.toml").compiler.gcc == load_target("cortex_m4f").compiler.gcc
    other = (tmp_path / "board.toml").read_text().replace("cortex_m4+vfp4d16sp", "cortex_m7+fp_armv8d16sp+nofp16")
    (tmp_path / "other.toml").write_text(other)
    assert not load_target(tmp_path / "other.toml").compiler.gcc


ISA = Path(__file__).parents[2] / "targets" / "isa"


def functions_of(prefix, file):
    """The inline functions of every vocabulary in a file of that name, by the instruction set whose folder has it."""
    pattern = re.compile(rf"^V_INLINE\s+[\w ]+[ *]({prefix}\w+)\(", re.MULTILINE)
    return {path.parent.name: set(pattern.findall(path.read_text(encoding="utf-8"))) for path in ISA.glob(f"*/{file}")}


def test_vocabularies_define_the_same_functions():
    """A kernel is written once over them; of some, a vector of one lane has no need."""
    functions = functions_of("v_", "float.h")
    assert len(functions) >= 8
    of_vectors = {"v_whole", "v_times_pow2"}
    cutting = {"v_abs", "v_first", "v_lanes_below", "v_load_first"}
    for name, found in functions.items():
        isa = load_set(name)
        needed = functions["sse2"] - (of_vectors if isa.lanes == 1 else set())
        needed |= {"v_sum_of_eight"} if isa.lanes == LANES else set()
        needed |= cutting if isa.cuts_vectors and not isa.long_lanes else set()  # else long vectors are cut
        assert found == needed, name


def test_integer_vocabularies_define_what_the_kernels_call():
    everywhere = {"i_dot", "i_store", "i_mix", "i_no_rows", "i_begin", "i_dot_four", "i_fold", "i_store_rows"}
    of_words = {"i_word", "i_by_of", "i_dot", "i_mix"}  # of four rows, which the kernel itself takes apart
    special = {
        "simd32": {"i_quad", "i_eight", "i_mix"},
        "soft": of_words,
        "soft_rv32": of_words,
        "soft_narrow": {"i_word", "i_dot_all", "i_mix"},
    }
    functions = functions_of("i_", "int.h")
    assert len(functions) >= 13
    for name, found in functions.items():
        start = "i_from" if load_set(name).biased else "i_zero"  # which takes off what biased weights have too much
        assert special.get(name, everywhere | {start}) <= found, name


def test_float_vocabularies_never_fuse_or_estimate():
    for path in ISA.glob("*/float.h"):
        text = path.read_text(encoding="utf-8")
        # But where a product is exact, so that there is nothing to round in between.
        text = "".join(line for line in text.splitlines(keepends=True) if " l_sub_exact(" not in line)
        assert not re.search(r"\w*(vmla|vfma|fn?madd|recpe|rsqrte|relaxed)\w*\(", text), path
