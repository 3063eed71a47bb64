"""All files in one translation unit: those of several models, of one with its program, and of firmware."""

import re
from dataclasses import replace

import pytest
from generated import write_files
from models import ODD, of_many_forms, random_checkpoint, trained_vocabulary

from llgen.codegen.build.folder import expected_trace
from llgen.codegen.compile.toolchain import WARNING_FLAGS, Artifact, run_tool, zig_cc
from llgen.codegen.plan.extras import Extras
from llgen.codegen.quantise.quantize import quantized
from llgen.codegen.render.pipeline import generate
from llgen.codegen.render.short_names import short_names
from llgen.codegen.run.runner import run_selftest
from llgen.codegen.words.flags import NUMERIC_FLAGS, compile_flags
from llgen.targets.schema import load_target, target_names


def model(scheme, seed=1):
    vocabulary = trained_vocabulary()
    config = replace(ODD, vocab_size=len(vocabulary))
    return quantized(random_checkpoint(config, seed=seed, vocabulary=vocabulary), scheme)


def one_unit(folder, *sources):
    (folder / "unit.c").write_text("".join(f'#include "{source}"\n' for source in sources))


def compile_unit(folder, target, command, *flags):
    run_tool([*command, *NUMERIC_FLAGS, *WARNING_FLAGS, *compile_flags(target), *flags, "unit.c"], folder)


@pytest.mark.parametrize("order", ["plain first", "vectors first"])
@pytest.mark.parametrize(("first", "second"), [("f32", "f32"), ("f32", "q8"), ("q8", "q4")])
def test_two_models_in_one_translation_unit_compute_the_same_bits(tmp_path, first, second, order):
    """Of different instruction sets, with a program around the first one."""
    target, other = load_target("x86_64"), load_target("generic")
    if order == "plain first":
        target, other = other, target
    tale = generate(model(first), target, prefix="tale", extras=Extras(drafts=4))
    fable = generate(model(second, seed=2), other, prefix="fable")
    for generation in (tale, fable):
        write_files(generation, tmp_path)
    one_unit(tmp_path, *fable.model_sources, *tale.sources)
    write_files(tale, tmp_path)
    compile_unit(tmp_path, target, ["gcc"], "-O1", "-pthread", "-o", "tale")
    assert run_selftest(Artifact(tmp_path / "tale", target), 20) == expected_trace(tale.model, 20)


@pytest.mark.parametrize("target", ["x86_64_v3", "x86_64_vnni", "x86_64_avx512vnni"])
def test_models_of_long_and_short_vectors_are_one_translation_unit(tmp_path, target):
    names = ("tale", "fable", "saga")
    kinds = ((target, "q8"), ("x86_64", "q4"), (target, "f32"))
    sources = []
    for name, (place, scheme) in zip(names, kinds, strict=True):
        generation = generate(model(scheme), load_target(place), prefix=name)
        write_files(generation, tmp_path)
        sources += generation.model_sources
    one_unit(tmp_path, *sources)
    compile_unit(tmp_path, load_target(target), zig_cc(load_target(target)), "-O0", "-c", "-o", "unit.o")


@pytest.mark.parametrize("name", target_names())
def test_all_files_of_two_models_for_any_target_are_one_translation_unit(tmp_path, name):
    target = load_target(name)
    forms = of_many_forms(random_checkpoint(replace(ODD, tied=True)), embedding=5)
    tale = generate(forms, target, prefix="tale", extras=Extras(drafts=4))
    fable = generate(model("q8"), target, prefix="fable", prefill=1)
    for generation in (fable, tale):
        write_files(generation, tmp_path)
    one_unit(tmp_path, *tale.sources, *fable.model_sources)
    compile_unit(tmp_path, target, [*zig_cc(target), "-fno-sanitize=undefined"], "-O0", "-c", "-o", "unit.o")


def test_firmware_in_one_translation_unit_computes_the_same_bits(tmp_path, runnable):
    target = runnable("cortex_m4f")
    generation = generate(model("q8"), target, prefix="tale")
    write_files(generation, tmp_path)
    one_unit(tmp_path, *generation.sources)
    linking = re.search(r"LDFLAGS \+= (.*)", generation.files["Makefile"].decode())[1].split()
    compiler = [*zig_cc(target), "-fno-sanitize=undefined", "-Wno-unused-command-line-argument"]
    compile_unit(tmp_path, target, compiler, "-Os", *linking, "-o", "tale.elf")
    assert run_selftest(Artifact(tmp_path / "tale.elf", target), 20) == expected_trace(generation.model, 20)


C = """
/* int in_a_comment; */
#define MACRO(x) \\
    int not_declared(x)
#define PLAIN 1
enum kind { RED = 1, GREEN, /* , BLUE */ LAST };
typedef struct pair { int left, right; } pair;
typedef const float *matrix;
typedef float eight __attribute__((vector_size(32)));
static const char text[] = "int in_a_text;", *other = "x";
union tale_weights { int a; };
int tale_eval(int token);
static inline pair swapped(pair of) { enum { INSIDE = 1 }; int local = INSIDE; return (pair){ of.right, local }; }
__attribute__((noinline)) static void apart(void (*callback)(int inner)) { callback(1); }
_Static_assert(sizeof(int) == 4, "int");
"""


def test_short_names_are_those_at_file_scope():
    names = short_names([C], "tale")
    declared = "apart eight GREEN kind LAST matrix other pair RED swapped text"
    assert names.declared == tuple(declared.split())
    assert names.macros == ("MACRO", "PLAIN")
