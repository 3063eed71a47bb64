"""Compiles the C of trainer/kernels for this machine's processor, and loads it."""

from __future__ import annotations

import ctypes
import hashlib
import platform
import sys
from functools import cache
from importlib.metadata import version
from importlib.resources import as_file, files
from pathlib import Path

from llgen.codegen.compile.toolchain import cache_directory, host_cc, run_tool
from llgen.whole import replacing

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
_POINTWISE = {
    "rms_norm": [_POINTER] * 2 + [_FLOAT] + [_POINTER] * 2 + [_SIZE] * 3,
    "rms_norm_backward": [_POINTER] * 6 + [_SIZE] * 3,
    "swiglu": [_POINTER] * 3 + [_SIZE] * 2,
    "swiglu_backward": [_POINTER] * 5 + [_SIZE] * 2,
    "cross_entropy": [_POINTER] * 4 + [_SIZE] * 3,
    "cross_entropy_backward": [_POINTER] * 3 + [_FLOAT] + [_POINTER] + [_SIZE] * 3,
}
_ATTENTION = {
    "attention": [_POINTER] * 8 + [_SIZE] * 3 + [_FLOAT] + [_SIZE] * 2,
    "attention_backward": [_POINTER] * 12 + [_SIZE] * 3 + [_FLOAT] + [_SIZE] * 2,
    "attention_scratch": [_SIZE],
}


@cache
def library(head_dim: int | None = None) -> ctypes.CDLL:
    """Attention for heads of `head_dim` elements; with None, the operators that do not depend on heads.

    The first call compiles them; later calls, also in other processes, use the file in the cache directory. ctypes
    releases Python's lock while an operator runs.
    Raises LlgenError when they cannot be compiled, and OSError when the compiled file cannot be loaded.
    """
    loaded = ctypes.CDLL(str(compiled(head_dim)))
    for name, arguments in (_POINTWISE if head_dim is None else _ATTENTION).items():
        function = getattr(loaded, name)
        function.argtypes, function.restype = arguments, _SIZE if name == "attention_scratch" else None
    return loaded


def compiled(head_dim: int | None = None) -> Path:
    """The file of the shared library, compiled if it is missing; raises LlgenError when it cannot be compiled."""
    kernels = files("llgen.trainer.kernels")
    source = "pointwise.c" if head_dim is None else "attention.c"
    flags = [*_FLAGS] if head_dim is None else [*_FLAGS, f"-DHEAD_DIM={head_dim}"]
    texts = [(kernels / name).read_bytes() for name in ("vector.h", source)]
    what = repr((texts, flags, version("ziglang"), sys.platform, _processor()))
    path = cache_directory() / "trainer" / f"operators-{hashlib.sha256(what.encode()).hexdigest()[:16]}.so"
    if path.exists():
        return path
    with as_file(kernels) as folder, replacing(path, shared=True) as temporary:
        run_tool([*host_cc(), *flags, source, "-o", str(temporary)], folder)
    return path


def _processor() -> str:
    """The processor's features, on which code compiled for `native` depends: machines may share a cache directory."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine() + platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features", "isa"))), platform.machine())
