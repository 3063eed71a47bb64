"""Parts with a float unit: C made for them is compiled for it, and links with what other compilers make."""

import re
from dataclasses import replace

import pytest
from generated import write_files
from models import ODD, random_checkpoint, trained_vocabulary

from llgen.codegen.compile.toolchain import compile_objects, host_cc
from llgen.codegen.plan.extras import Extras
from llgen.codegen.quantise.quantize import quantized
from llgen.codegen.render.pipeline import generate
from llgen.errors import LlgenError
from llgen.targets.schema import load_target, target_names

WITHOUT = {
    "zig": [*host_cc(), "-target", "thumb-freestanding-eabihf", "-mcpu=cortex_m4"],
    "gcc": ["arm-none-eabi-gcc", "-mcpu=cortex-m4", "-mthumb"],
}
"""Compilers that know the core and were not told of its float unit."""


@pytest.mark.parametrize("compiler", WITHOUT)
def test_c_for_a_float_unit_is_not_compiled_without_it(compiler, odd, tool, tmp_path):
    if compiler == "gcc":
        tool("arm-none-eabi-gcc", "gcc-arm-none-eabi")
    target = load_target("cortex_m4f")
    generation = generate(quantized(odd, "q8"), target)
    write_files(generation, tmp_path)
    for source in ("odd.c", "odd_forward.c"):
        with pytest.raises(LlgenError, match="odd: tell the compiler that the target has a float unit"):
            compile_objects(tmp_path, [source], target, tmp_path, compiler=WITHOUT[compiler])


@pytest.mark.parametrize("name", target_names())
def test_only_arms_with_a_float_unit_ask_for_it(name, odd):
    target = load_target(name)
    asks = b"__ARM_FP" in generate(odd, target).files["odd_internal.h"]
    assert asks == (name in ("armv6", "armv7", "cortex_m33", "cortex_m4f", "cortex_m55", "cortex_m7"))


@pytest.mark.parametrize("name", target_names())
def test_no_public_struct_holds_an_enumeration(name):
    """Its size is one byte or four, by the compiler: a library of one and a header of another would not agree."""
    vocabulary = trained_vocabulary()
    config = replace(ODD, vocab_size=len(vocabulary))
    model = quantized(random_checkpoint(config, vocabulary=vocabulary), "q8")
    header = generate(model, load_target(name), extras=Extras(drafts=4)).files["odd.h"].decode()
    assert re.findall(r"^enum (\w+) \{", header, re.MULTILINE) == ["odd_status"]
    assert len(re.findall(r"\benum\b", re.sub(r"/\*.*?\*/", "", header, flags=re.DOTALL))) == 1
