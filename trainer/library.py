"""Compiling the C of trainer/kernels for this machine's processor, and calling it."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import sys
from functools import cache
from importlib.metadata import version
from importlib.resources import as_file, files
from pathlib import Path

from llgen.codegen.toolchain import cache_directory, host_cc, run_tool

_FLAGS = (
    "-O3",
    "-std=gnu11",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-march=native",
    "-fno-sanitize=undefined",
    "-g0",
    "-fPIC",
    "-shared",
)

_POINTER, _SIZE, _FLOAT = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_float
_SIGNATURES = {
    "attention": [_POINTER] * 8 + [_SIZE] * 3 + [_FLOAT] + [_SIZE] * 2,
    "attention_backward": [_POINTER] * 12 + [_SIZE] * 3 + [_FLOAT] + [_SIZE] * 2,
    "rms_norm": [_POINTER] * 2 + [_FLOAT] + [_POINTER] * 2 + [_SIZE] * 3,
    "rms_norm_backward": [_POINTER] * 6 + [_SIZE] * 3,
    "swiglu": [_POINTER] * 3 + [_SIZE] * 2,
    "swiglu_backward": [_POINTER] * 5 + [_SIZE] * 2,
    "cross_entropy": [_POINTER] * 4 + [_SIZE] * 3,
    "cross_entropy_backward": [_POINTER] * 3 + [_FLOAT] + [_POINTER] + [_SIZE] * 3,
}


@cache
def library(head_dim: int) -> ctypes.CDLL:
    """The operators, compiled for heads of so many elements; kept in the cache directory from then on.

    ctypes frees Python's lock while one of them runs. Raises LlgenError when they cannot be compiled, and OSError when
    what was compiled cannot be loaded.
    """
    loaded = ctypes.CDLL(str(compiled(head_dim)))
    for name, arguments in _SIGNATURES.items():
        getattr(loaded, name).argtypes = arguments
        getattr(loaded, name).restype = None
    loaded.attention_scratch.argtypes, loaded.attention_scratch.restype = [_SIZE], _SIZE
    return loaded


def compiled(head_dim: int) -> Path:
    """The shared library's file; raises LlgenError when it cannot be compiled."""
    sources = {
        entry.name: entry.read_bytes()
        for entry in sorted(files("llgen.trainer.kernels").iterdir(), key=lambda entry: entry.name)
        if entry.name.endswith((".c", ".h"))
    }
    flags = [*_FLAGS, f"-DHEAD_DIM={head_dim}"]
    what = repr((sorted(sources.items()), flags, version("ziglang"), sys.platform, _processor()))
    path = cache_directory() / "trainer" / f"operators-{hashlib.sha256(what.encode()).hexdigest()[:16]}.so"
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    with as_file(files("llgen.trainer.kernels")) as folder:
        run_tool([*host_cc(), *flags, *(name for name in sources if name.endswith(".c")), "-o", str(temporary)], folder)
    temporary.replace(path)
    return path


def _processor() -> str:
    """What decides whether code compiled for `native` runs here: a cache may be shared among machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine() + platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features", "isa"))), platform.machine())
