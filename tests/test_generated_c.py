"""The generated C as its users compile it: warnings, standards, symbols, misuse, two models in one program."""

import os
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from generated import write_files
from models import ODD, of_many_forms, random_checkpoint, trained_vocabulary

from llgen.codegen import __version__
from llgen.codegen.compile.measure import measure
from llgen.codegen.compile.toolchain import WARNING_FLAGS, compile_objects, host_cc, link, zig_environment
from llgen.codegen.plan.extras import Extras
from llgen.codegen.plan.prompt import bake
from llgen.codegen.quantise.quantize import quantized
from llgen.codegen.render.pipeline import generate
from llgen.codegen.words.api import version_number
from llgen.errors import LlgenError
from llgen.targets.schema import load_target

TARGETS = ["generic", "x86_64", "x86_64_v3"]
ZIG = host_cc()


def checkpoint(name="odd", *, config=ODD, tokenizer=True, tied=False, **options):
    vocabulary = trained_vocabulary(**options) if tokenizer else None
    size = len(vocabulary) if vocabulary else config.vocab_size
    config = replace(config, vocab_size=size, tied=tied)
    return random_checkpoint(config, name=name, vocabulary=vocabulary)


VARIANTS = {
    "untied": {},
    "tied": {"tied": True},
    "no tokenizer": {"tokenizer": False},
    "no bytes": {"byte_fallback": False},
    "all spaces": {"remove_extra_whitespaces": False, "add_dummy_prefix": False, "split_by_whitespace": False},
}


def compile_c(folder: Path, command: list[str]) -> None:
    done = subprocess.run(command, cwd=folder, env=zig_environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("compiler", [["gcc"], None], ids=["gcc", "zig"])
def test_no_warning_under_any_compiler(tmp_path, compiler, target, variant):
    for trace in (False, True):
        generation = generate(checkpoint(**VARIANTS[variant]), load_target(target), trace=trace)
        write_files(generation, tmp_path)
        compile_objects(tmp_path, generation.sources, load_target(target), tmp_path, "-O2", compiler)


@pytest.mark.parametrize("level", ["-O0", "-O1", "-O3", "-Os"])
@pytest.mark.parametrize("scheme", ["f32", "q8"])
@pytest.mark.parametrize("target", TARGETS)
def test_gcc_warns_at_no_level_of_optimisation(tmp_path, target, scheme, level):
    generation = generate(quantized(checkpoint(), scheme), load_target(target))
    write_files(generation, tmp_path)
    compile_objects(tmp_path, generation.sources, load_target(target), tmp_path, level, ["gcc"])


@pytest.mark.parametrize(
    "standard",
    [["gcc", "-std=c99", "-xc"], ["g++", "-std=c++17", "-xc++"], [*ZIG, "-std=c99", "-xc"]],
    ids=lambda c: c[-2],
)
def test_the_header_is_clean(tmp_path, standard):
    write_files(generate(checkpoint(), load_target("x86_64")), tmp_path)
    (tmp_path / "user").write_text('#include "odd.h"\n')
    compile_c(tmp_path, [*standard, *WARNING_FLAGS, "-c", "user", "-o", "user.o"])


def function_comments(header: str) -> dict[str, str]:
    """Public functions -> the comment before each, in one line."""
    functions = set(re.findall(r"^[\w ]+[ *](odd_\w+)\([^;{]*;", header, re.MULTILINE))
    comments = {}
    for name in functions:
        before = re.split(rf"^[\w ]+[ *]{name}\(", header, flags=re.MULTILINE)[0]
        comment = re.search(r"/\*((?:[^*]|\*(?!/))*)\*/\n\Z", before)
        comments[name] = (
            "" if comment is None else " ".join(re.sub(r"^ \*", "", comment[1], flags=re.MULTILINE).split())
        )
    return comments


@pytest.mark.parametrize("extras", ["plain", "all"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_comment_of_each_function_ends_with_what_it_returns(variant, extras):
    """And names each status that the function's own body returns."""
    model = quantized(checkpoint(**VARIANTS[variant]))
    more = Extras(drafts=4, prompt=bake(model, (1, 5, 6))) if extras == "all" else Extras()
    generation = generate(model, load_target("x86_64" if extras == "all" else "cortex_m4f"), extras=more)
    comments = function_comments(generation.files["odd.h"].decode())
    wanted = {"odd_reset", "odd_eval", "odd_prefill", "odd_logits", "odd_tokens", "odd_sample", "odd_strerror"}
    wanted |= {"odd_generate", "odd_encode", "odd_decode"} if model.vocabulary else set()
    wanted |= {"odd_begin", "odd_set_parallel", "odd_set_speculation", "odd_speculated"} if extras == "all" else set()
    assert set(comments) == wanted
    code = "".join(generation.files[name].decode() for name in generation.model_sources if "weights" not in name)
    for name, comment in comments.items():
        assert re.search(r"[.] Returns [^.]*[.;:][^/]*$", comment), name
        body = re.search(rf"^[\w *]+\b{name}\([^)]*\)\n{{\n(.*?)^}}", code, re.MULTILINE | re.DOTALL)
        assert body is not None
        if name != "odd_strerror":
            assert set(re.findall(r"return ODD_(ERR_\w+)", body[1])) <= set(re.findall(r"ERR_\w+", comment)), name


def test_a_program_can_test_the_version(tmp_path):
    generation = generate(checkpoint(), load_target("generic"))
    write_files(generation, tmp_path)
    major, minor, patch = (int(part) for part in __version__.split("."))
    (tmp_path / "user.c").write_text(
        '#include "odd.h"\n'
        f"#if ODD_VERSION != {(major << 16) + (minor << 8) + patch}\n#error version\n#endif\n"
        f'_Static_assert(sizeof(ODD_VERSION_TEXT) == sizeof "{__version__}", "text");\n'
    )
    compile_c(tmp_path, ["gcc", "-std=c11", *WARNING_FLAGS, "-c", "user.c"])


def test_versions_are_numbers_in_their_order():
    versions = ["0.1.0", "0.1.9", "0.1.10", "0.2.0", "1.0.0", "1.0.1rc1"]
    numbers = [version_number(version) for version in versions]
    assert numbers == sorted(set(numbers))
    assert version_number("1.2.3") == 0x010203


MEMBERS = re.compile(r"(\w+)(?:\[\d+\])?[,;]")


@pytest.mark.parametrize("extras", ["plain", "all"])
@pytest.mark.parametrize(
    ("scheme", "target"), [("f32", "generic"), ("q8", "generic"), ("q8", "x86_64"), ("q4", "x86_64")]
)
def test_nothing_of_the_state_or_the_internal_header_is_unread(scheme, target, extras):
    model = quantized(checkpoint(), scheme)
    more = Extras(drafts=4) if extras == "all" else Extras()
    generation = generate(model, load_target(target), extras=more, trace=extras == "all")
    texts = {
        name: re.sub(r"/\*.*?\*/", "", generation.files[name].decode(), flags=re.DOTALL) for name in generation.files
    }
    state = re.search(r"typedef struct odd \{(.*?)\n\}", texts["odd.h"], re.DOTALL)
    assert state is not None
    members = {name for line in state[1].splitlines() for name in MEMBERS.findall(line.split("}")[-1])}
    code = "".join(text for name, text in texts.items() if name.startswith("odd") and "names" not in name)
    assert {name for name in members if not re.search(rf"(->|\.){name}\b", code)} == set()
    constants = re.findall(r"^    (\w+) += ", texts["odd_internal.h"], re.MULTILINE)
    assert len(constants) > 20
    assert [name for name in constants if len(re.findall(rf"\b{name}\b", code)) < 2] == []


@pytest.mark.parametrize("scheme", ["f32", "q8", "q4"])
@pytest.mark.parametrize("target", ["generic", "cortex_m4f"])
def test_the_network_has_a_file_of_its_own(target, scheme):
    """What a reader opens to see the model holds nothing else; the arithmetic is in a header that only it includes."""
    texts = generate(quantized(checkpoint(), scheme), load_target(target)).files
    network = texts["odd_forward.c"].decode()
    assert re.findall(r"^\w.*?(\w+)\([^;]*\)\n{", network, re.MULTILINE) == ["odd_forward", "odd_odds"]
    assert len(network.splitlines()) < 80
    assert [name for name, text in texts.items() if b'#include "odd_kernels.h"' in text] == ["odd_forward.c"]


def test_the_generated_makefile_builds(tmp_path):
    generation = generate(checkpoint(), load_target("host"))
    write_files(generation, tmp_path)
    for compiler in ("cc", "gcc"):
        subprocess.run(["make", "-s", "clean"], cwd=tmp_path, check=True)
        subprocess.run(["make", "-s", f"CC={compiler}"], cwd=tmp_path, check=True)
        assert "digest" in subprocess.run(
            [tmp_path / "odd", "--selftest", "3"], capture_output=True, text=True, check=True
        ).stdout  # fmt: skip


def test_a_compiler_without_any_flags_builds_it_too(tmp_path):
    generation = generate(checkpoint(), load_target("x86_64_v3"))
    write_files(generation, tmp_path)
    compile_c(tmp_path, ["cc", "-o", "odd", *generation.sources])


@pytest.mark.parametrize("scheme", ["f32", "q8"])
def test_no_flag_changes_the_bits(tmp_path, scheme):
    """Products and sums are fused by none, and what reorders them is refused."""
    generation = generate(quantized(checkpoint(), scheme), load_target("x86_64_v3"))
    write_files(generation, tmp_path)
    flags = ["-O3", "-march=haswell", "-c", "odd_forward.c", "-o", "odd_forward.o"]
    for compiler in (
        ["gcc", "-std=gnu11", "-ffp-contract=fast"],
        [*ZIG, "-std=gnu11"],
    ):
        compile_c(tmp_path, [*compiler, *flags])
        words = ["objdump", "-d", "odd_forward.o"]
        code = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
        assert "vmulps" in code and "vaddps" in code
        assert not re.search(r"vfn?m(add|sub)", code)
    words = ["gcc", "-ffast-math", *flags]
    refused = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert refused.returncode != 0
    assert "odd: -ffast-math changes the bits" in refused.stderr


MADE_OF_LOOPS = {"memcpy", "memset", "memmove", "strlen"}
"""The compiler may make calls of these out of loops; the model itself calls nothing."""


@pytest.mark.parametrize("target", ["cortex_m0plus", "cortex_m3", "riscv32_imac"])
def test_a_part_without_floats_calls_the_compiler_and_a_square_root(tmp_path, target):
    generation = generate(quantized(checkpoint(), "q8"), load_target(target))
    write_files(generation, tmp_path)
    objects = compile_objects(tmp_path, generation.sources, load_target(target), tmp_path)
    undefined = set(measure(objects[: len(generation.model_sources)]).undefined)
    assert {name for name in undefined if not name.startswith("__")} <= {*MADE_OF_LOOPS, "sqrtf"}
    assert "sqrtf, and the compiler's own functions for floats" in generation.files["odd.h"].decode()


@pytest.mark.parametrize("target", TARGETS)
def test_symbols_and_sections(tmp_path, target):
    """No heap, no input or output, no writable globals, no recursion, no more stack than promised."""
    generation = generate(checkpoint(), load_target(target))
    write_files(generation, tmp_path)
    objects = compile_objects(tmp_path, generation.sources, load_target(target), tmp_path)
    found = measure(objects[: len(generation.model_sources)])
    assert found.writable == 0
    assert set(found.undefined) <= MADE_OF_LOOPS
    assert 0 < found.stack <= generation.stack_bytes
    assert found.rodata >= generation.memory.rodata_bytes
    assert found.rodata - generation.memory.rodata_bytes < 2048  # messages and constants


RECURSION = {
    "itself": "int f(int n);\nint f(int n) { volatile int own[9]; own[0] = n; return n ? f(n - 1) + own[0] : 1; }",
    "another": "int f(int n);\nint g(int n);\n"
    "int f(int n) { return n ? g(n - 1) + n : 1; }\nint g(int n) { return f(n / 2) * 3; }",
}


@pytest.mark.parametrize(
    "target", ["x86_64", "aarch64", "armv7", "cortex_m4f", "cortex_m0plus", "riscv64", "riscv32_imac"]
)
@pytest.mark.parametrize("kind", RECURSION)
def test_a_function_that_calls_itself_has_no_bound(tmp_path, target, kind):
    (tmp_path / "deep.c").write_text(RECURSION[kind])
    objects = compile_objects(tmp_path, ["deep.c"], load_target(target), tmp_path, "-O1")
    with pytest.raises(LlgenError, match="calls itself"):
        measure(objects)


HEADS_OF_14 = replace(ODD, dim=70, n_heads=5, n_kv_heads=5, head_dim=14)
"""In vectors of 16: attention on whole numbers puts more aside than with any other shape that is known."""
HEADS_OF_8 = replace(ODD, tied=True, dim=64, n_layers=5, n_heads=8, n_kv_heads=4, head_dim=8, max_seq_len=512)
"""Those of stories260K; where registers have 64 bits, so has what is put aside."""


@pytest.mark.parametrize(
    ("target", "config"),
    [("x86_64_vnni", HEADS_OF_14), ("x86_64_avx512vnni", HEADS_OF_14), ("riscv64", HEADS_OF_8)],
    ids=["x86_64_vnni", "x86_64_avx512vnni", "riscv64"],
)
def test_what_is_put_aside_fits_the_stack_too(tmp_path, target, config):
    generation = generate(quantized(checkpoint(config=config, tied=config.tied), "q4"), load_target(target))
    write_files(generation, tmp_path)
    objects = compile_objects(tmp_path, generation.model_sources, load_target(target), tmp_path)
    promised = re.search(r"^#define ODD_STACK_BYTES +(\d+)", generation.files["odd.h"].decode(), re.MULTILINE)
    assert 0 < measure(objects).stack <= int(promised[1])


@pytest.mark.parametrize(
    "target", ["aarch64", "armv7", "riscv64", "riscv64_v", "x86_64_v3", "x86_64_avx512vnni", "cortex_m4f"]
)
def test_weights_that_are_unpacked_fit_the_stack_too(tmp_path, target):
    config = replace(ODD, tied=True, dim=192, hidden_dim=512, n_heads=6, n_kv_heads=2, head_dim=32)
    for embedding in (4, 5):
        model = of_many_forms(random_checkpoint(config), embedding=embedding)
        generation = generate(model, load_target(target))
        write_files(generation, tmp_path / str(embedding))
        folder = tmp_path / str(embedding)
        objects = compile_objects(folder, generation.model_sources, load_target(target), folder)
        assert 0 < measure(objects).stack <= generation.stack_bytes


def test_includes_and_globals_are_the_promised_ones(tmp_path):
    generation = generate(checkpoint(), load_target("x86_64"))
    allowed = {"stdint.h", "stddef.h", "stdbool.h", "limits.h", "float.h", "emmintrin.h"}
    for path, content in generation.files.items():
        if path.endswith((".c", ".h")) and path not in ("main.c", "port.c", "odd_threads.c"):
            text = content.decode()
            assert set(re.findall(r"#include <(\S+)>", text)) <= allowed, path
            assert not re.search(
                r"#\s*if(n?def)?\b(?!.*(_H\b|_NAMES\b|__cplusplus|__BYTE_ORDER__|__FAST_MATH__|__clang__))", text
            ), path
            assert "\t" not in text, path
            assert not re.search(r"[ ]+$", text, re.MULTILINE), path


@pytest.mark.parametrize("sanitize", [False, True], ids=["plain", "sanitized"])
def test_misuse_is_answered_and_use_works(tmp_path, sanitize):
    generation = generate(checkpoint(), load_target("x86_64"))
    write_files(generation, tmp_path)
    shutil.copy(Path(__file__).parent / "c" / "api.c", tmp_path)
    sources = list(generation.model_sources)
    flags = ["-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"] if sanitize else ["-O2"]
    compile_c(tmp_path, ["gcc", "-std=c11", *flags, "-o", "api", "api.c", *sources])
    done = subprocess.run([tmp_path / "api"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not shutil.which("valgrind") and not os.environ.get("CI"), reason="apt-get install valgrind")
def test_valgrind_finds_nothing(tmp_path):
    generation = generate(checkpoint(), load_target("x86_64"))
    write_files(generation, tmp_path)
    sources = list(generation.model_sources)
    shutil.copy(Path(__file__).parent / "c" / "api.c", tmp_path)
    compile_c(tmp_path, ["gcc", "-std=c11", "-g", "-O1", "-o", "api", "api.c", *sources])
    done = subprocess.run(
        ["valgrind", "-q", "--error-exitcode=9", tmp_path / "api"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_state_of_another_build_is_not_taken_for_ones_own():
    checkpoint = random_checkpoint()
    builds = [
        generate(quantized(checkpoint, scheme, kv, context), load_target(target), extras=Extras(drafts=drafts))
        for scheme, kv, context, target, drafts in (
            ("f32", "f32", None, "generic", 0),
            ("q8", "f32", None, "generic", 0),
            ("q8", "q8", None, "generic", 0),
            ("q8", "q8", 20, "generic", 0),
            ("q8", "q8", None, "x86_64_v3", 0),
            ("q8", "q8", None, "x86_64_v3", 4),
            ("q8", "q8", None, "x86_64_v3", 16),
        )
    ]
    assert len({build.words.api.ready_word for build in builds}) == len(builds)


def test_two_models_in_one_program(tmp_path):
    sources = []
    for name, seed_tied in (("odd", False), ("even", True)):
        generation = generate(checkpoint(name, tied=seed_tied), load_target("x86_64"))
        write_files(generation, tmp_path)
        sources += list(generation.model_sources)
    (tmp_path / "both.c").write_text(
        '#include "odd.h"\n#include "even.h"\n'
        "static struct odd a;\nstatic struct even b;\n"
        "int main(void) { odd_reset(&a); even_reset(&b);\n"
        "  return odd_eval(&a, 1) || even_eval(&b, 1) || odd_sample(&a, 0) < 0 || even_sample(&b, 0) < 0; }\n"
    )
    compile_c(tmp_path, ["gcc", "-std=c11", "-O2", "-o", "both", "both.c", *sources])
    subprocess.run([tmp_path / "both"], check=True)


def test_same_input_same_bytes():
    one, two = (generate(checkpoint(), load_target("x86_64_v3")) for _ in range(2))
    assert one.files == two.files


def test_the_program_refuses_wrong_arguments(tmp_path):
    generation = generate(checkpoint(), load_target("generic"))
    write_files(generation, tmp_path)
    artifact = link(
        compile_objects(tmp_path, generation.sources, load_target("generic"), tmp_path),
        load_target("generic"),
        tmp_path / "odd",
    )
    for arguments in (
        ["-t"],
        ["-t", "nan"],
        ["-n", "0"],
        ["-n", "76"],
        ["--what"],
        ["a", "b"],
        ["-k", "-1"],
        ["-s", "x"],
    ):
        done = subprocess.run([artifact.path, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 2, arguments
        assert done.stdout == ""
        assert "usage" in done.stderr
    for arguments in (["--tokens", "1,x"], ["--tokens", "500"], ["--tokens", "-3"], ["x" * 400]):
        done = subprocess.run([artifact.path, *arguments], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (1, ""), arguments
        assert len(done.stderr.splitlines()) == 1
