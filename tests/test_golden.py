"""The C of one small model, to be read: its public header, and the network and kernels of one integer target.

`pytest tests/test_golden.py --update-golden` accepts the C as it is generated now. Read the difference before it is
committed.
"""

import difflib
import re
from dataclasses import replace
from pathlib import Path

import pytest
from models import ODD, random_checkpoint, trained_vocabulary

from llgen.codegen.quantise.quantize import quantized
from llgen.codegen.render.pipeline import generate
from llgen.targets.schema import load_target

GOLDEN = Path(__file__).parent / "golden"
TARGET = "cortex_m4f"
LEFT_OUT = ("tiny.c", "tiny_names.h", "tiny_simd.h", "tiny_tokenizer.c", "tiny_weights.c")
"""Of the model's own files, those whose text is the same for any model, or lists numbers."""


@pytest.fixture(scope="module")
def generated_now():
    """Text by path within the folder of golden files; the version of llgen and the digest of weights are masked."""
    vocabulary = trained_vocabulary()
    config = replace(
        ODD, dim=16, hidden_dim=24, n_heads=2, n_kv_heads=1, head_dim=8, max_seq_len=16, vocab_size=len(vocabulary),
        tied=True,
    )  # fmt: skip
    model = quantized(random_checkpoint(config, name="tiny", vocabulary=vocabulary), "q8")
    found = {}
    for name, content in generate(model, load_target(TARGET)).files.items():
        if name.startswith("tiny") and name not in LEFT_OUT:
            text = re.sub(r"llgen \d+\.\d+\.\d+", "llgen X.Y.Z", content.decode()).replace(model.sha256, "SHA256")
            text = re.sub(r"^(#define TINY_VERSION\w* +)\S+ +", r"\1X ", text, flags=re.MULTILINE)
            found[name if name == "tiny.h" else f"{TARGET}/{name}"] = text
    return found


@pytest.fixture(scope="module")
def golden(request, generated_now):
    """Text by path, as it is kept."""
    if request.config.getoption("--update-golden"):
        for path in [path for path in GOLDEN.rglob("*") if path.is_file()]:
            path.unlink()
        for name, text in generated_now.items():
            (GOLDEN / name).parent.mkdir(parents=True, exist_ok=True)
            (GOLDEN / name).write_text(text, encoding="utf-8")
    paths = [path for path in GOLDEN.rglob("*") if path.is_file()]
    return {path.relative_to(GOLDEN).as_posix(): path.read_text(encoding="utf-8") for path in paths}


def test_the_golden_files_are_the_header_the_network_and_its_kernels(golden, generated_now):
    assert sorted(golden) == sorted(generated_now)
    assert {"tiny.h", f"{TARGET}/tiny_forward.c"} <= golden.keys()


def test_generated_c_is_what_was_read(golden, generated_now):
    changes = [
        line
        for name in sorted(golden.keys() & generated_now.keys())
        for line in difflib.unified_diff(
            golden[name].splitlines(), generated_now[name].splitlines(), f"golden/{name}", name, lineterm=""
        )
    ]
    text = "\n".join(changes)
    assert not text, f"{text}\nread the change; `pytest tests/test_golden.py --update-golden` accepts it"
