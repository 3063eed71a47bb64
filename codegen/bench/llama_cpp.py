"""llama.cpp as an engine: its Python package reads GGUF files that llgen exports."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

from ..model.checkpoint import Checkpoint
from .engine import Engine, Work

TYPES = {"f32": "f32", "q8": "q8_0", "q4": "q4_0"}
"""llgen's scheme -> GGUF's nearest type."""

INSTALL = """CMAKE_ARGS="-DGGML_NATIVE=ON" pip install --no-binary llama-cpp-python 'llgen[bench]'"""
"""Compiles for this processor, as llgen compiles its own C; a ready package may be compiled for any processor."""


def missing() -> str | None:
    """Why llama.cpp cannot be measured here, with the command that installs it; None when it can."""
    return None if find_spec("llama_cpp") else f"'llama-cpp-python' is not installed; {INSTALL}"


def write_files(checkpoint: Checkpoint, schemes: Iterable[str], folder: Path) -> tuple[dict[str, Path], list[str]]:
    """Write a GGUF file of each type; return type -> path, and a line about types that do not fit all matrices."""
    from ..formats.gguf.write import write_gguf

    paths, notes = {}, []
    for kind in (TYPES[scheme] for scheme in schemes):
        paths[kind] = folder / f"{kind}.gguf"
        kept = write_gguf(checkpoint, paths[kind], kind)
        if kept:
            notes.append(f"llama.cpp {kind}: F16 for {len(kept)} matrices whose rows are no multiple of 32")
    return paths, notes


def llama_cpp_engine(path: Path, kind: str, work: Work, threads: int) -> Engine:
    """llama.cpp on a file of `write_files`."""
    words = [sys.executable, "-m", "llgen.codegen.bench.llama_cpp_worker", str(path), work.kind, str(work.positions)]
    return Engine("llama.cpp", kind, threads, work, lambda repeats: [*words, str(repeats), str(threads)])
