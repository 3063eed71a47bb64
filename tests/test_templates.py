"""Templates lay out; they decide nothing. And one small model's C as a whole, to be read."""

import dataclasses
import difflib
import re
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import jinja2
import pytest
from jinja2 import meta, nodes
from models import MIXED, ODD, of_many_forms, random_checkpoint, trained_vocabulary

from llgen.codegen.context import CodegenContext, TokenizerWords
from llgen.codegen.machine import MachineWords
from llgen.codegen.pipeline import generate, quantized
from llgen.codegen.render import environment
from llgen.targets.schema import load_target, target_names

ROOT = Path(str(files("llgen.templates")))
TEMPLATES = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.j2"))
FORBIDDEN = (
    nodes.Assign,
    nodes.AssignBlock,
    nodes.BinExpr,
    nodes.UnaryExpr,
    nodes.Compare,
    nodes.Filter,
    nodes.Test,
    nodes.CondExpr,
)


def parse(name: str) -> nodes.Template:
    return environment().parse((ROOT / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", TEMPLATES)
def test_no_logic(name):
    for kind in FORBIDDEN:
        found = list(parse(name).find_all(kind))
        assert not found, f"{name}:{found[0].lineno} holds a {kind.__name__}: decide it in naming.py"


@pytest.mark.parametrize("name", TEMPLATES)
def test_templates_see_the_context_and_nothing_else(name):
    fields = {field.name for box in (CodegenContext, TokenizerWords, MachineWords) for field in dataclasses.fields(box)}
    assert meta.find_undeclared_variables(parse(name)) <= fields | {"weights_title"}


def test_every_field_of_the_context_is_used():
    used = set().union(*(meta.find_undeclared_variables(parse(name)) for name in TEMPLATES))
    fields = {field.name for box in (CodegenContext, TokenizerWords, MachineWords) for field in dataclasses.fields(box)}
    assert fields - used == {"tokenizer", "machine"}


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


# ------------------------------------------------------------------------------------------------------------ golden


def golden_text(prefill: int) -> str:
    """All generated text for a tiny model, the rows of numbers and bytes left out."""
    vocabulary = trained_vocabulary()
    shape = {"dim": 8, "hidden_dim": 12, "n_heads": 2, "n_kv_heads": 1, "head_dim": 4, "max_seq_len": 16}
    config = ODD.__class__(**{**ODD.__dict__, **shape, "vocab_size": len(vocabulary), "tied": True})
    checkpoint = random_checkpoint(config, name="tiny", vocabulary=vocabulary)
    generation = generate(checkpoint, load_target("generic"), prefill=prefill)
    skipped = {"main.c", "port.c", "README.md", "Makefile", "tiny.h", "tiny_simd.h", "tiny_tokenizer.c", "tiny.c"}
    parts = []
    for path, content in sorted(generation.files.items()):
        if path in skipped:
            continue
        lines = [line for line in content.decode().splitlines() if not re.match(r'^\s*"', line)]
        parts += [f"==== {path} ====", *lines]
    text = "\n".join(parts) + "\n"
    return re.sub(r"llgen \d+\.\d+\.\d+", "llgen X.Y.Z", text).replace(generation.model.sha256, "SHA256")


@pytest.mark.parametrize("prefill", [1, 8])
def test_golden(request, prefill):
    path = Path(__file__).parent / "golden" / f"tiny_{prefill}.txt"
    text = golden_text(prefill)
    if request.config.getoption("--update-golden"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    expected = path.read_text(encoding="utf-8")
    changes = "\n".join(
        difflib.unified_diff(expected.splitlines(), text.splitlines(), "golden", "generated", lineterm="")
    )
    assert not changes, f"{changes}\nread the change; `pytest --update-golden tests/test_templates.py` accepts it"
