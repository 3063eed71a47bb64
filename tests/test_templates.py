"""Templates lay out; they decide nothing."""

import dataclasses
import re
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import jinja2
import pytest
from byte_level import saved, trained
from jinja2 import meta, nodes
from models import MIXED, ODD, of_many_forms, random_checkpoint, trained_vocabulary

from llgen.codegen.quantise.quantize import quantized
from llgen.codegen.render.files import boxes_of, environment
from llgen.codegen.render.pipeline import generate
from llgen.codegen.words.boxes import Words
from llgen.targets.instruction_sets import load_set
from llgen.targets.schema import load_target, target_names

ROOT = Path(str(files("llgen.templates")))
OF_SETS = Path(str(files("llgen.targets"))) / "isa"
TEMPLATES = [
    *sorted(path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.j2")),
    *sorted(path.relative_to(OF_SETS.parent).as_posix() for path in OF_SETS.rglob("*.j2")),
]
"""The general templates, and as isa/NAME/FILE those of instruction sets."""
FORBIDDEN = (
    nodes.Assign,
    nodes.AssignBlock,
    nodes.BinExpr,
    nodes.Neg,
    nodes.Pos,
    nodes.Compare,
    nodes.Filter,
    nodes.Test,
    nodes.CondExpr,
)


def text_of(name: str) -> str:
    root = OF_SETS.parent if name.startswith("isa/") else ROOT
    return (root / name).read_text(encoding="utf-8")


def parse(name: str) -> nodes.Template:
    return environment().parse(text_of(name))


def as_included(name: str) -> tuple[str, tuple[str, ...]]:
    """The name by which others include a template, and the line of the instruction set that has it."""
    if not name.startswith("isa/"):
        return name, ()
    _, isa, file = name.split("/")
    return f"kernels/{file}", load_set(isa).line


@pytest.mark.parametrize("name", TEMPLATES)
def test_no_logic(name):
    for kind in FORBIDDEN:
        found = list(parse(name).find_all(kind))
        assert not found, f"{name}:{found[0].lineno} holds a {kind.__name__}: decide it in codegen/words"


BOXES = {box.name.capitalize(): box for box in dataclasses.fields(Words)}
OF_RENDER = {"weights_title", "vector_headers", "short_names", "short_macros", "internal"}
"""What only rendering knows of the files that it makes."""


@pytest.fixture(scope="module")
def every_box(tmp_path_factory: pytest.TempPathFactory) -> Words:
    """Words of a model that has matrices of all forms, for a machine without an operating system; of a tokenizer of
    each kind."""
    vocabulary = trained_vocabulary()
    checkpoint = random_checkpoint(replace(ODD, tied=True, vocab_size=len(vocabulary)), vocabulary=vocabulary)
    generation = generate(of_many_forms(checkpoint, embedding=5), load_target("cortex_m4f"))
    bytewise = saved(trained("smollm", every_byte=False), tmp_path_factory.mktemp("bytes"))
    other = random_checkpoint(replace(ODD, vocab_size=len(bytewise), bos_id=None), vocabulary=bytewise)
    words = replace(generation.words, bytes=generate(other, load_target("cortex_m4f")).words.bytes)
    assert None not in [getattr(words, box) for box in map(str.lower, BOXES)]
    return words


def fields_of(words: Words, box: str) -> set[str]:
    return {field.name for field in dataclasses.fields(getattr(words, box.lower()))}


def read_with_included(name: str, line: tuple[str, ...]) -> set[str]:
    """What a template reads, and those that it and they include by name, as a set of that line has them."""
    source, _, _ = environment(line).loader.get_source(environment(line), name)
    tree = environment(line).parse(source)
    included = [each for each in meta.find_referenced_templates(tree) if each is not None]
    return meta.find_undeclared_variables(tree).union(*(read_with_included(each, line) for each in included))


def sees(name: str) -> list[str]:
    """The boxes that a template names at its top, those of included templates apart."""
    told = re.match(r"\{# Sees (.*)\. #\}\n", text_of(name))
    assert told is not None, f"{name} does not say at its top which boxes it sees"
    return [] if told[1] == "nothing" else told[1].split(", ")


@pytest.mark.parametrize("name", TEMPLATES)
def test_no_line_of_a_template_is_longer_than_ours(name):
    lines = text_of(name).splitlines()
    assert [number for number, line in enumerate(lines, start=1) if len(line) > 120] == []


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_names_the_boxes_that_it_reads_and_no_other(name, every_box):
    read = meta.find_undeclared_variables(parse(name)) - OF_RENDER
    assert read <= set().union(*(fields_of(every_box, box) for box in sees(name)))
    assert [box for box in sees(name) if not read & fields_of(every_box, box)] == []


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_needs_its_own_boxes_alone(name, every_box):
    included, line = as_included(name)
    of_render = dict.fromkeys(OF_RENDER & read_with_included(included, line), "")
    environment(line).get_template(included).render(every_box.seen(boxes_of(included, line)), **of_render)


def test_a_set_takes_its_own_templates_then_those_that_it_extends_then_the_general_ones():
    def file_of(isa, name):
        return Path(environment(load_set(isa).line).get_template(name).filename).relative_to(ROOT.parent).as_posix()

    assert file_of("soft_narrow", "kernels/word_columns.c.j2") == "targets/isa/soft_narrow/word_columns.c.j2"
    assert file_of("soft_narrow", "kernels/block_int.c.j2") == "targets/isa/soft/block_int.c.j2"
    assert file_of("soft_dsp", "kernels/block_int.c.j2") == "targets/isa/simd32/block_int.c.j2"
    assert file_of("soft_dsp", "kernels/nearest.c.j2") == "targets/isa/soft_float/nearest.c.j2"
    assert file_of("dsp", "kernels/nearest.c.j2") == "targets/isa/dsp/nearest.c.j2"
    assert file_of("avx2", "kernels/block_int.c.j2") == "templates/kernels/block_int.c.j2"


@pytest.mark.parametrize("box", BOXES)
def test_every_field_of_a_box_is_read_by_a_template(box, every_box):
    readers = [name for name in TEMPLATES if box in sees(name)]
    read = set().union(*(meta.find_undeclared_variables(parse(name)) for name in readers))
    assert fields_of(every_box, box) - read == set()


def test_no_two_boxes_have_a_field_of_one_name(every_box):
    names = [field for box in BOXES for field in fields_of(every_box, box)]
    assert len(names) == len(set(names))


def test_an_undefined_name_is_an_error():
    with pytest.raises(jinja2.UndefinedError):
        environment().from_string("{{ nothing }}").render()


def test_bare_package_names_are_never_imported():
    """`import codegen` works by accident from the repository's root, and makes a second copy of every class."""
    root = Path(__file__).parents[1]
    for folder in ("trainer", "codegen", "targets", "templates", "tests"):
        for path in (root / folder).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            assert not re.search(r"^\s*(import|from) (trainer|codegen|targets|templates)\b", text, re.MULTILINE), path


# ------------------------------------------------------------------------------------------------------ line lengths


@pytest.mark.parametrize("target", target_names())
def test_lines_of_generated_c_are_no_longer_than_ours(target):
    """With a name of three letters; texts of a vocabulary end where C's escapes let them."""
    longest = 120
    tied, untied = (random_checkpoint(replace(ODD, tied=tied)) for tied in (True, False))
    for model, prefill in [
        (quantized(tied), 1),
        (quantized(untied), 8),
        (quantized(tied, "q8"), 1),
        (quantized(untied, "q4"), 1),
        (quantized(random_checkpoint(MIXED), "q8"), 1),
        (quantized(random_checkpoint(MIXED), "q8"), 8),
        (quantized(tied, "q4"), 8),
        (of_many_forms(tied, embedding=4), 8),
        (of_many_forms(tied, embedding=5), 1),
        (of_many_forms(untied), 8),
    ]:
        for trace in (False, True):
            generation = generate(model, load_target(target), prefill=prefill, trace=trace)
            for path, content in generation.files.items():
                if path.endswith((".c", ".h")) and not path.endswith("_weights.c"):
                    assert [line for line in content.decode().splitlines() if len(line) > longest] == [], path
