"""All that generated C defines is read in it: macros, functions, types, constants. No comment stands twice."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from functools import cache

import pytest
from models import ODD, of_many_forms, random_checkpoint, trained_vocabulary

from llgen.codegen.plan.extras import Extras
from llgen.codegen.plan.prompt import bake
from llgen.codegen.quantise.quantize import QuantModel, quantized
from llgen.codegen.render.file_scope import blanked, declared, macros
from llgen.codegen.render.pipeline import generate
from llgen.codegen.render.unread import without_unread
from llgen.targets.instruction_sets import set_names
from llgen.targets.schema import Target, load_target, target_names

CASES = {
    "f32": ("f32", {}),
    "f32, one position, traced": ("f32", {"prefill": 1, "trace": True}),
    "q8, with extras": ("q8", {}),
    "q8, one position": ("q8", {"prefill": 1}),
    "q8, cache of floats": ("q8 and floats", {}),
    "q4, one position": ("q4", {"prefill": 1}),
    "q4, traced": ("q4", {"trace": True}),
    "many forms": ("many forms", {}),
    "many forms, one position": ("many forms", {"prefill": 1}),
    "many forms, cache of floats": ("many forms and floats", {}),
}
"""A model and the options of its build, by what is special about them."""


@cache
def model(name: str) -> QuantModel:
    vocabulary = trained_vocabulary()
    config = replace(ODD, vocab_size=len(vocabulary), n_layers=2)
    tied, untied = (random_checkpoint(replace(config, tied=each), vocabulary=vocabulary) for each in (True, False))
    return {
        "f32": lambda: quantized(tied),
        "q8": lambda: quantized(untied, "q8"),
        "q8 and floats": lambda: quantized(tied, "q8", "f32"),
        "q4": lambda: quantized(tied, "q4"),
        "many forms": lambda: of_many_forms(tied, embedding=5),
        "many forms and floats": lambda: of_many_forms(untied, "f32"),
    }[name]()


def target_of(instruction_set: str) -> Target:
    """A target that prefers this set; without one, a small Arm that is said to."""
    named = [target for target in map(load_target, target_names()) if target.isa[0] == instruction_set]
    return named[0] if named else load_target("cortex_m3").model_copy(update={"isa": (instruction_set,)})


@pytest.fixture(scope="module")
def generated():
    """A function from an instruction set and a case to the C files, without the one that names all others' names."""

    @cache
    def files_of(instruction_set: str, case: str) -> dict[str, str]:
        name, options = CASES[case]
        if case == "q8, with extras":
            options = {"extras": Extras(drafts=4, prompt=bake(model(name), (1, 5, 6)))}
        files = generate(model(name), target_of(instruction_set), **options).files
        c_files = {path: content.decode() for path, content in files.items() if path.endswith((".c", ".h"))}
        return {path: text for path, text in c_files.items() if path != "odd_names.h" and "weights" not in path}

    return files_of


PUBLIC = {"odd.h", "port.h"}
"""Headers whose names others read, too: programs, and the ports of boards."""


def names_of(text: str) -> frozenset[str]:
    """What C defines at file scope, except the function with which a program begins."""
    return (declared(blanked(text)) | macros(blanked(text))) - {"main"}


def unread(files: Mapping[str, str]) -> set[str]:
    """What C files define for themselves and no place reads; a prototype reads nothing."""
    code = "\n".join(blanked(text) for text in files.values())
    code = re.sub(r"^static [^;{=]*\);$", "", code, flags=re.MULTILINE)
    code = re.sub(r"^typedef struct \w+ {", "typedef struct {", code, flags=re.MULTILINE)
    counts = Counter(re.findall(r"\w+", code))
    names = {name for text in files.values() for name in names_of(text)}
    return {name for name in names if counts[name] < 2}


def unread_members(files: Mapping[str, str]) -> set[str]:
    """Members of named structures that no place reads; an initialiser by name only writes."""
    code = "\n".join(blanked(text) for text in files.values())
    members = re.findall(r"^typedef struct \w+ {(.*?)} \w+; *$", code, flags=re.DOTALL | re.MULTILINE)
    names = {name for each in members for name in re.findall(r"(\w+)(?:\[\w+\])?[,;]", each)}
    return {name for name in names if not re.search(rf"(\.|->){name}\b(?! = )", code)}


def repeated_comments(text: str) -> list[str]:
    """Comments of more than one word at the beginning of a line that stand more than once."""
    comments = re.findall(r"^/\* (.*?) \*/", text, flags=re.DOTALL | re.MULTILINE)
    return [comment for comment, count in Counter(comments).items() if count > 1]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("instruction_set", set_names())
def test_all_that_generated_c_defines_is_read_in_it(instruction_set, case, generated):
    files = generated(instruction_set, case)
    public = {name for path in PUBLIC & files.keys() for name in names_of(files[path])}
    assert unread(files) - public == set()


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("instruction_set", set_names())
def test_each_member_of_its_structures_is_read(instruction_set, case, generated):
    files = generated(instruction_set, case)
    assert unread_members({path: text for path, text in files.items() if path not in PUBLIC}) == set()


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("instruction_set", set_names())
def test_no_comment_of_generated_c_stands_twice(instruction_set, case, generated):
    files = generated(instruction_set, case)
    assert {path: repeated_comments(text) for path, text in files.items() if repeated_comments(text)} == {}


def test_what_is_unread_is_found():
    header = "#define A 1\n#define B 2\nenum { C, D };\ntypedef struct e { int f; } e;\nstatic int g(int h);\n"
    assert unread({"x.h": header, "x.c": "static int g(int h) { return B + D + h; }\n"}) == {"A", "C", "e", "g"}


def test_a_member_that_is_only_written_is_found():
    header = "typedef struct a {\n    int b, c; /* d; */\n    float *e[2];\n} a;\n"
    code = "static int f(a x) { a y = (a){ .b = 1, .c = x.c }; return g(y); }"
    assert unread_members({"x.h": header, "x.c": code}) == {"b", "e"}


HEADER = """/* What it is. */
#ifndef X_H
#define X_H

/* Dimensions */
enum {
    WIDTH  = 4,
    HEIGHT = 5, /* of nothing */
};

/* Two words: */
#define one(a) two(a)
#define four(a) \\
    ((a) + WIDTH)

/* Read by `one` alone. */
static inline int two(int a)
{
    /* A comment within. */

    return a;
}

/* Read by nothing: one, three */
static inline int three(int a) { return three(a - HEIGHT); }

#endif
"""


def test_what_is_read_stays_with_its_comment():
    assert without_unread({"x.h": HEADER}, ["int x = one(1) + four(2) + three(HEIGHT);"]) == {"x.h": HEADER}


def test_what_is_unread_goes_with_its_comment_and_with_what_it_alone_reads():
    kept = without_unread({"x.h": HEADER}, ['int x = four(2); /* one */ char y[] = "three";'])["x.h"]
    assert kept == (
        "/* What it is. */\n#ifndef X_H\n#define X_H\n\n/* Dimensions */\nenum {\n    WIDTH = 4,\n};\n\n"
        "/* Two words: */\n#define four(a) \\\n    ((a) + WIDTH)\n\n#endif\n"
    )


def test_a_header_may_read_another_one():
    headers = {"low.h": "#define LOW 1\n#define LOWER 2\n", "high.h": "#define HIGH LOW\n"}
    assert without_unread(headers, ["HIGH"]) == {"low.h": "#define LOW 1\n", "high.h": "#define HIGH LOW\n"}
