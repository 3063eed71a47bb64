"""The device of the arithmetic, its number format, its threads, and the memory that it takes."""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch

from llgen.errors import UsageError

from .config import Hardware

_PARALLEL_FROM_DIM = 128
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def choose_device(name: str) -> torch.device:
    """The device called `name`; "auto" is this process's GPU if there is one, else the CPU.

    Raises UsageError for a device that PyTorch does not know or the machine does not have.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if name == "cuda":
        name = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        raise UsageError(f"hardware.device is '{name}': {reason}", "hardware.device=auto") from error
    return device


def choose_dtype(hardware: Hardware, device: torch.device) -> torch.dtype:
    """The format of products; "auto" is bfloat16 on a GPU that supports it, else float32."""
    if hardware.dtype != "auto":
        return _DTYPES[hardware.dtype]
    on_gpu = device.type == "cuda" and torch.cuda.is_bf16_supported()
    return torch.bfloat16 if on_gpu else torch.float32


def arithmetic(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[object]:
    """Inside the block, products are computed in `dtype` (Micikevicius et al., 2018, arXiv:1710.03740)."""
    return nullcontext() if dtype == torch.float32 else torch.autocast(device.type, dtype)


def is_narrow(dim: int) -> bool:
    """Whether operators of this width are too short to be divided among cores: they end before a second core starts."""
    return dim < _PARALLEL_FROM_DIM


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def operator_threads(count: int) -> Iterator[None]:
    """Inside the block, PyTorch's operators use `count` threads.

    The number decides how sums are divided, so the last digits of the sums depend on it.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def deterministic(wanted: bool) -> Iterator[None]:
    """Inside the block, if `wanted`, PyTorch uses only algorithms that give the same bits every time.

    Without it, compiled code with several threads sums the gradient of an embedding in the order in which the threads
    finish.
    """
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(wanted or before)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


@contextmanager
def short_products() -> Iterator[None]:
    """Inside the block, a CPU with bfloat16 instructions uses them to multiply float32 matrices.

    Factors are then rounded to 8 significant bits; sums stay float32. Other CPUs compute as before.
    """
    products: Any = getattr(torch.backends.mkldnn, "matmul", None)
    if products is None or not _multiplies_bfloat16():
        yield
        return
    before = products.fp32_precision
    products.fp32_precision = "bf16"
    try:
        yield
    finally:
        products.fp32_precision = before


def _multiplies_bfloat16() -> bool:
    """Whether this CPU has AMX or AVX-512 with bfloat16 products; False where an older PyTorch cannot tell."""
    capabilities: Mapping[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(capabilities.get(name) for name in ("amx_bf16", "avx512_bf16"))


def peak_memory(device: torch.device) -> int:
    """Peak memory in bytes so far: on a GPU, of PyTorch's tensors there; else of the whole process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
