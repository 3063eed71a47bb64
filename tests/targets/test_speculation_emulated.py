"""Speculation on other machines: the reference's digest, with tokens evaluated ahead."""

from __future__ import annotations

import pytest
from models import random_checkpoint

from llgen.codegen.build.folder import build
from llgen.codegen.plan.extras import Extras
from llgen.codegen.quantise.quantize import quantized
from llgen.codegen.reference.forward import selftest
from llgen.codegen.run.runner import run_selftest, run_story


@pytest.mark.parametrize(
    "name", ["aarch64", "armv7", "wasm32_wasi", "cortex_m4f", "cortex_m0plus", "cortex_m55", "riscv32_imac"]
)
@pytest.mark.parametrize(("scheme", "kv"), [("f32", "f32"), ("q8", "q8")])
def test_the_digest_of_the_reference(name, scheme, kv, runnable, tmp_path):
    target = runnable(name)
    model = quantized(random_checkpoint(), scheme, kv)
    built = build(model, target, tmp_path / "out", extras=Extras(drafts=4))
    expected = selftest(model, 60)
    assert run_selftest(built.artifact, 60, drafts=4) == run_selftest(built.artifact, 60) == expected
    words = ["--tokens", ",".join(map(str, expected.tokens[:30])), "-n", "60", "--ignore-eos", "--speculate", "4"]
    story = run_story(built.artifact, words, None, stream=False)
    assert (*story.prompt_tokens, *story.tokens) == expected.tokens
    assert story.accepted <= story.drafted
