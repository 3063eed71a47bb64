"""A baked prompt on other machines: its cache lies in flash as their kernels read it."""

from __future__ import annotations

import pytest
from models import ODD, random_checkpoint

from llgen.codegen.build.folder import build
from llgen.codegen.plan.extras import Extras
from llgen.codegen.plan.prompt import bake
from llgen.codegen.quantise.quantize import quantized
from llgen.codegen.reference.forward import selftest
from llgen.codegen.run.runner import run_selftest

TOKENS = [(37 * i + 5) % ODD.vocab_size for i in range(ODD.max_seq_len)]


@pytest.mark.parametrize(
    ("name", "prefill"),
    [
        ("cortex_m0plus", None),
        ("cortex_m3", None),
        ("cortex_m4f", None),
        ("cortex_m4f", 7),
        ("cortex_m55", None),
        ("riscv32_imac", None),
        ("aarch64", None),
        ("wasm32_wasi", None),
    ],
)
@pytest.mark.parametrize(("scheme", "kv", "length"), [("f32", "f32", 14), ("q8", "f32", 27), ("q8", "q8", 22)])
def test_the_digest_of_the_reference(name, prefill, scheme, kv, length, runnable, tmp_path):
    target = runnable(name)
    model = quantized(random_checkpoint(), scheme, kv)
    extras = Extras(prompt=bake(model, TOKENS[:length]))
    built = build(model, target, tmp_path / "out", prefill=prefill, extras=extras)
    expected = selftest(model, 24, prompt=TOKENS[:length])
    assert run_selftest(built.artifact, 24) == expected
    assert expected.digest != selftest(model, 24).digest
