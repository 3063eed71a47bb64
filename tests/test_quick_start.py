"""Commands that only list something start without the libraries that building and training need."""

import json
import subprocess
import sys

import pytest

HEAVY = {
    "elftools",
    "gguf",
    "google",
    "importlib.metadata",
    "jinja2",
    "numpy",
    "pydantic",
    "rich",
    "safetensors",
    "sentencepiece",
    "torch",
}
"""What takes longer to import than click."""

MAY_IMPORT = {
    "--help": set(),
    "--version": set(),
    "bild": set(),  # a mistyped command
    "targets": {"pydantic", "importlib.metadata"},  # pydantic checks the target files
}

PROGRAM = """
import sys, json
from llgen.codegen.cli.main import main
try:
    main()
finally:
    print(json.dumps(sorted(sys.modules)), file=sys.stderr)
"""


@pytest.mark.parametrize("word", MAY_IMPORT)
def test_a_command_that_lists_imports_no_heavy_library(word):
    done = subprocess.run([sys.executable, "-c", PROGRAM, word], capture_output=True, text=True, check=False)
    imported = set(json.loads(done.stderr.splitlines()[-1]))
    assert "click" in imported
    assert imported & HEAVY <= MAY_IMPORT[word]
