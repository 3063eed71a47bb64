"""llama.cpp as an engine, through its Python package, on files of our own export."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

from ..checkpoint import Checkpoint
from .engine import Engine, Work

TYPES = {"f32": "f32", "q8": "q8_0", "q4": "q4_0"}
"""llgen's scheme -> GGUF's nearest type."""

INSTALL = """CMAKE_ARGS="-DGGML_NATIVE=ON" pip install --no-binary llama-cpp-python 'llgen[bench]'"""
"""Compiled for the processor at hand, as our own C is; what a package index holds may be made for any."""


def missing() -> str | None:
    """Why llama.cpp cannot be measured here, with the line that mends it; None when it can."""
    return None if find_spec("llama_cpp") else f"'llama-cpp-python' is not installed; {INSTALL}"


def write_files(checkpoint: Checkpoint, schemes: Iterable[str], folder: Path) -> tuple[dict[str, Path], list[str]]:
    """A GGUF file of each type: type -> path, and a line about each type that does not fit some matrices."""
    from ..formats.gguf_write import write_gguf  # here, for the gguf package is slow to import

    paths, notes = {}, []
    for kind in (TYPES[scheme] for scheme in schemes):
        paths[kind] = folder / f"{kind}.gguf"
        kept = write_gguf(checkpoint, paths[kind], kind)
        if kept:
            notes.append(f"llama.cpp {kind}: F16 for {len(kept)} matrices whose rows blocks of 32 do not divide")
    return paths, notes


def llama_cpp_engine(path: Path, kind: str, work: Work, threads: int) -> Engine:
    """llama.cpp on a file of `write_files`."""
    words = [sys.executable, "-m", "llgen.codegen.bench.llama_cpp_worker", str(path), work.kind, str(work.positions)]
    return Engine("llama.cpp", kind, threads, work, lambda repeats: [*words, str(repeats), str(threads)])
