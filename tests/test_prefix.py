"""Prefixes: no word of C's and POSIX's headers, of the Makefile or of the generated C itself becomes one."""

import random
import re
import shutil
import subprocess
import zlib
from dataclasses import replace

import header_names
import pytest
from generated import write_files
from hypothesis import given, settings
from hypothesis import strategies as st
from models import ODD, random_checkpoint, trained_vocabulary

from llgen.codegen.compile.toolchain import compile_objects, zig_environment
from llgen.codegen.model import prefix as prefixes
from llgen.codegen.model.prefix import LONGEST, objection, plain_prefix, required_prefix, safe_prefix
from llgen.codegen.quantise.quantize import quantized
from llgen.codegen.render.pipeline import generate
from llgen.errors import ExitCode, UsageError
from llgen.targets.schema import load_target, target_names

TABLE = prefixes.files("llgen.codegen") / "reserved" / "headers.toml"
HEADERS = (*header_names.C_HEADERS, *header_names.POSIX_HEADERS)


def collect():
    """The table of what the headers of all compilers at hand own; zig brings those of nine C libraries."""
    names, spaces, files = {}, {}, {header.removesuffix(".h") for header in HEADERS if "/" not in header}
    for compiler in sorted(
        header_names.COMPILERS, key=lambda name: name == "g++"
    ):  # the one that knows least of places
        if header_names.there(compiler):
            found = header_names.look_up(compiler)
            names = found.names | names
            spaces = found.spaces | spaces
            files |= {stem for stem in found.files if re.fullmatch(r"[a-z][a-z0-9_]*", stem)}
    return names, spaces, files


def test_the_table_holds_all_that_headers_declare(request):
    """With --update-golden it is written anew, from the headers of every compiler at hand."""
    if request.config.getoption("--update-golden"):
        TABLE.write_text(table_text(*collect()), encoding="utf-8")
        prefixes._owned.cache_clear()
    for compiler in ("gcc", "gcc, strict", "g++", "zig, x86_64-linux-musl"):
        if header_names.there(compiler):
            missing = unknown_words(compiler)
            if missing and not header_names.known_version(compiler):
                pytest.skip(f"the headers of this machine's {compiler} are newer: {', '.join(missing)}")
            assert missing == [], compiler


def unknown_words(compiler):
    """Words that this compiler's headers own and that the tables lack."""
    found = header_names.look_up(compiler)
    words = {*found.names, *found.spaces, *found.files, *found.predefined}
    return sorted(word for word in words if len(word) <= LONGEST and objection(word) is None)


def table_text(names, spaces, files):
    lines = [
        "# What headers of C and POSIX declare, collected from those of glibc, musl, newlib, mingw, WASI, Apple's,",
        "# FreeBSD's, NetBSD's and OpenBSD's C libraries, with GCC's and Clang's own. Do not edit:",
        "# `pytest tests/test_prefix.py -k table --update-golden` writes it, tests/lib/header_names.py says how.",
        "",
        "# Files among them: a header of such a name would be found in their place.",
        *folded("files", sorted(files)),
    ]
    for title, table, what in (
        ("names", names, "Functions, types, variables, enumerators and macros, by the first header that brings them."),
        ("spaces", spaces, "What stands before an underscore in names and macros, in lower case."),
    ):
        lines += ["", f"# {what}", f"[{title}]"]
        for header in sorted(set(table.values())):
            lines += folded(f'"{header}"', sorted(word for word in table if table[word] == header))
    return "\n".join(lines) + "\n"


def folded(key, words):
    rows = [""]
    for word in words:
        if len(rows[-1]) + len(word) >= 118:
            rows.append("")
        rows[-1] += f"{word} "
    return [f'{key} = """', *(row.rstrip() for row in rows), '"""']


@pytest.mark.parametrize(
    ("name", "prefix"),
    [("stories260K", "stories260k"), ("my-model v2", "my_model_v2"), ("A.b", "a_b"), ("tiny", "tiny")],
)
def test_a_name_becomes_a_prefix(name, prefix):
    assert required_prefix(name) == safe_prefix(name) == prefix


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("exp", "<math.h> declares exp"),
        ("log", "<math.h> declares log"),
        ("div", "<stdlib.h> declares div"),
        ("index", "<string.h> declares index"),
        ("remove", "<stdio.h> declares remove"),
        ("time", "its header would hide <time.h>"),
        ("string", "its header would hide <string.h>"),
        ("stdint", "its header would hide <stdint.h>"),
        ("version", "its program would hide <version> of C++"),
        ("pthread", "its header would hide <pthread.h>"),
        ("features", "its header would hide <features.h>"),
        ("f", "begin with f_ or F_"),
        ("sig", "begin with sig_ or SIG_"),
        ("int", "int is a keyword of C or C++"),
        ("Co_Await", "co_await is a keyword of C or C++"),
        ("linux", "compilers define linux"),
        ("makefile", "a rule or another file of the folder is called so"),
        ("all", "a rule or another file of the folder is called so"),
        ("nul", "Windows takes a file of that name for a device"),
        ("matrix", "the generated C itself uses matrix"),
        ("weights", "the generated C itself uses weights"),
        ("my--model", "two underscores"),
        ("model-", "two underscores"),
        ("s", "begin with s_ or S_"),
        ("3b", "it must begin with a letter"),
        ("", "it must begin with a letter"),
        ("_x", "it must begin with a letter"),
        ("a" * 32, "it has 32 characters; at most 31 are allowed"),
    ],
)
def test_a_name_that_something_owns_is_refused_with_the_reason(name, reason):
    with pytest.raises(UsageError) as caught:
        required_prefix(name)
    assert reason in caught.value.message
    suggested = re.fullmatch(r"--name (\w+), or another", caught.value.hint)[1]
    assert required_prefix(suggested) == suggested
    assert caught.value.exit_code == ExitCode.USAGE


@given(st.text(max_size=80))
def test_every_name_gives_a_safe_prefix(name):
    prefix = safe_prefix(name)
    assert required_prefix(prefix) == prefix
    if objection(plain_prefix(name)) is None:
        assert prefix == plain_prefix(name)


def all_table_words():
    owned = prefixes._owned()
    return sorted({*owned.keywords, *owned.names, *owned.spaces, *owned.files, *owned.cpp_headers, *owned.predefined,
                   *owned.folder, *owned.devices})  # fmt: skip


def test_no_word_of_the_tables_is_a_prefix_and_each_has_a_safe_one():
    words = all_table_words()
    assert len(words) > 5000
    for word in words:
        assert objection(word) is not None, word
        assert objection(safe_prefix(word)) is None, word


def near_words():
    """What is next to the tables' words and yet allowed: a letter more, a letter less, what the standards keep for
    later without an underscore."""
    words = all_table_words()
    near = {w + "s" for w in words} | {w[:-1] for w in words} | {w + "_model" for w in words} | {"x" + w for w in words}
    near |= {"strange", "memo", "wcsmith", "island", "tomato", "toy", "example", "english", "signal_tower", "llm"}
    ours = ("_eval", "_status", "_vocab", "_ok")  # `a` and `a_eval` do not go together
    return sorted(word for word in near if objection(word) is None and not word.endswith(ours))


LANGUAGES = {
    "gcc, strict": ["gcc", "-std=gnu99", "-xc"],
    "gcc": ["gcc", "-std=gnu2x", "-D_GNU_SOURCE", "-xc"],
    "g++": ["g++", "-std=gnu++2b", "-xc++"],
    "arm-none-eabi-gcc": ["arm-none-eabi-gcc", "-std=gnu11", "-D_GNU_SOURCE", "-xc"],
}


def compile_text(command, text, folder, *flags):
    (folder / "user").write_text(text)
    words = [*command, *flags, "-fsyntax-only", "-I.", "user"]
    done = subprocess.run(words, cwd=folder, env=zig_environment(), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def all_headers(command):
    headers = header_names.includable(command)
    return "".join(f"#include <{header}>\n" for header in headers if (header, command[0]) != ("stdatomic.h", "g++"))


@pytest.mark.parametrize("language", LANGUAGES)
def test_headers_of_any_prefix_go_with_all_headers_of_c_and_posix(language, tmp_path):
    """One text: all headers, and for each of thousands of prefixes what its header declares."""
    command = LANGUAGES[language]
    if shutil.which(command[0]) is None:
        pytest.skip(f"'{command[0]}' is not installed")
    newer = set() if header_names.known_version(language) else set(unknown_words(language))
    words = [word for word in near_words() if word not in newer]
    assert len(words) > 5000
    declared = "".join(
        f"#define {word.upper()}_VOCAB 512\nenum {word}_status {{ {word.upper()}_OK = 0 }};\n"
        f"typedef struct {word} {{ int ready; }} {word};\nint {word}_eval(struct {word} *state);\n"
        for word in words
    )
    compile_text(command, all_headers(command) + declared, tmp_path)


@pytest.mark.parametrize("first", ["the model", "the others"])
@pytest.mark.parametrize("language", ["gcc, strict", "g++"])
def test_whole_headers_go_with_all_headers_of_c_and_posix(language, first, tmp_path):
    command = LANGUAGES[language]
    vocabulary = trained_vocabulary()
    config = replace(ODD, vocab_size=len(vocabulary))
    header = (
        generate(random_checkpoint(config, vocabulary=vocabulary), load_target("x86_64"), prefix="zzz")
        .files["zzz.h"]
        .decode()
    )
    words = random.Random(1).sample(near_words(), 60) + [safe_prefix(word) for word in ("time", "exp", "string", "int")]
    own = "".join(header.replace("zzz", word).replace("ZZZ", word.upper()) for word in words)
    others = all_headers(command)
    compile_text(command, own + others if first == "the model" else others + own, tmp_path, "-Wall", "-Wextra")


def every_file(prefix, target, scheme):
    return generate(quantized(random_checkpoint(), scheme), load_target(target), prefix=prefix)


@pytest.mark.parametrize("scheme", ["f32", "q8", "q4"])
@pytest.mark.parametrize("target", target_names())
def test_no_word_of_the_generated_c_is_a_prefix(target, scheme):
    """Words of the C that do not begin with the prefix: one of them as a prefix would be declared twice, or hidden."""
    generation = every_file("zzz", target, scheme)
    for path, content in generation.files.items():
        if path.endswith((".c", ".h")) and "weights" not in path:
            text = re.sub(prefixes._NO_WORDS, " ", content.decode())
            for word in set(re.findall(r"(?<!\w)[a-z]\w*", text)):
                if not word.startswith("zzz") and len(word) <= LONGEST and word == word.lower():
                    assert objection(word) is not None, (path, word)


@settings(max_examples=4, deadline=None)
@given(st.integers(0, 2**32))
def test_a_model_of_any_allowed_prefix_builds_without_a_warning(tmp_path_factory, seed):
    words = near_words()
    prefix = words[zlib.crc32(str(seed).encode()) % len(words)]
    folder = tmp_path_factory.mktemp("any")
    generation = every_file(prefix, "x86_64", "q8")
    write_files(generation, folder)
    compile_objects(folder, generation.sources, load_target("x86_64"), folder, "-O0", ["gcc"])
