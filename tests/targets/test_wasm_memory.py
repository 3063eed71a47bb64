"""A WebAssembly module's memory is what is stated, and no more than it needs; its flash counts its code."""

from __future__ import annotations

import json
import subprocess

import pytest
from models import random_checkpoint

from llgen.codegen.build.folder import build
from llgen.codegen.compile.toolchain import compile_objects, zig_cc, zig_environment
from llgen.codegen.compile.wasm import MAGIC, code_and_data, module_memory
from llgen.codegen.pack.estimate import estimate
from llgen.codegen.plan.program import MODULE_STACK_BYTES, PAGE_BYTES
from llgen.codegen.quantise.quantize import quantized
from llgen.codegen.quantise.quantized import read_model
from llgen.codegen.run.runner import run_selftest
from llgen.targets.schema import load_target, target_names

MODULES = [name for name in target_names() if name.startswith("wasm32")]


def initial_bytes(path):
    """The memory of a module, as wasmtime reads it."""
    wasmtime = pytest.importorskip("wasmtime", reason="pip install wasmtime")
    module = wasmtime.Module.from_file(wasmtime.Engine(), str(path))
    (memory,) = [export.type for export in module.exports if isinstance(export.type, wasmtime.MemoryType)]
    return memory.limits.min * PAGE_BYTES


@pytest.mark.parametrize("name", MODULES)
def test_what_is_said_of_a_module_is_true(name, llgen, fox, tmp_path):
    """Its memory, by build, check, manifest, header and the estimate before compiling; its flash counts its code."""
    folder = tmp_path / "c"
    words = ["build", fox, "--scheme", "q8", "--target", name, "-o", folder]
    code, out, err = llgen(*words, "--json")
    assert code == 0, err
    answer, header = json.loads(out), (folder / "fox.h").read_text()
    assert answer["ram_bytes"] == initial_bytes(folder / "fox.wasm")
    assert f" {answer['state_bytes']:,} bytes: sizeof" in header
    assert "`ram_bytes` of manifest.json" in header
    assert json.loads((folder / "manifest.json").read_text())["ram_bytes"] == answer["ram_bytes"]
    stated = estimate(read_model(fox, "q8", None, None), load_target(name)).ram_bytes
    assert abs(stated - answer["ram_bytes"]) <= PAGE_BYTES
    code_bytes, _ = code_and_data(folder / "fox.wasm")
    assert 0.3 * code_bytes < answer["code_bytes"] <= code_bytes  # the rest is the program's and the C library's
    tables = sum(answer["rodata_bytes"].values())
    assert tables <= answer["flash_bytes"] - answer["code_bytes"] < tables + 4096
    code, out, err = llgen(*words)
    assert "is up to date" in err
    assert f"{answer['code_bytes']:,} of them code" in err
    assert "all that the module asks for" in err
    words = ["check", fox, "--scheme", "q8", "--target", name, "--no-torch", "--positions", 3, "--json"]
    assert json.loads(llgen(*words)[1])["targets"][0]["ram_bytes"] == answer["ram_bytes"]


def test_a_module_asks_for_no_more_than_it_holds(tmp_path):
    """Its data, the state, what the program keeps, and 64 KiB of stack; not a page more."""
    result = build(quantized(random_checkpoint(), "q8"), load_target("wasm32_wasi"), tmp_path / "c")
    facts = result.facts
    held = facts["state_bytes"] + sum(facts["rodata_bytes"].values()) + MODULE_STACK_BYTES
    assert held < facts["ram_bytes"] < held + 2 * PAGE_BYTES
    assert facts["stack_bytes"] is None


def test_makefiles_ask_for_no_more_either(tmp_path, runnable, tool):
    """A module that is made without llgen has the same stack."""
    target, make = runnable("wasm32_wasi_scalar"), tool("make", "make")
    result = build(random_checkpoint(), target, tmp_path / "c")
    # -s, and the processor of the library: else zig would build another library.
    words = [make, "-B", f"CC={' '.join(zig_cc(target))} -fno-sanitize=undefined -s"]
    subprocess.run(words, cwd=tmp_path / "c", check=True, capture_output=True, env=zig_environment())
    assert module_memory(result.artifact.path) == result.facts["ram_bytes"]
    assert run_selftest(result.artifact, 64).digest_hex == result.facts["digest"]


def test_only_modules_are_read_as_modules(tmp_path):
    (tmp_path / "f.c").write_text("int f(int a);\nint f(int a) { return a + 1; }\n")
    for name in ("x86_64", "wasm32_web"):
        (tmp_path / name).mkdir()
    (elf,) = compile_objects(tmp_path, ["f.c"], load_target("x86_64"), tmp_path / "x86_64")
    assert module_memory(elf) is None
    (module,) = compile_objects(tmp_path, ["f.c"], load_target("wasm32_web"), tmp_path / "wasm32_web")
    assert module.read_bytes().startswith(MAGIC)
    code, data = code_and_data(module)
    assert 0 < code < 40
    assert data == 0
    assert module_memory(module) is None  # an object imports its memory
