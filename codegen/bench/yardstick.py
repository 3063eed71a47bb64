"""The yardstick: a plain float32 decoder in C (templates/tools/yardstick.c), compiled for speed by what is at hand."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np

from llgen.targets.schema import Target

from ..checkpoint import Checkpoint
from ..errors import LlgenError
from ..kernels import select
from ..toolchain import cache_directory, host_cc, run_tool
from .engine import Engine, Work
from .host import processor

_TENSORS = (
    "input_layernorm",
    "self_attn.q_proj",
    "self_attn.k_proj",
    "self_attn.v_proj",
    "self_attn.o_proj",
    "post_attention_layernorm",
    "mlp.gate_proj",
    "mlp.up_proj",
    "mlp.down_proj",
)
"""Of a layer, in the order in which yardstick.c reads them."""


@dataclass(frozen=True)
class Yardstick:
    """The compiled program, and by what."""

    program: Path
    compiler: str
    """The command, as one would type it."""
    isa: str
    """The widest vector instructions that the compiler may use by it."""

    def engine(self, weights: Path, positions: int) -> Engine:
        """Decoding with the weights of a file of `write_weights`."""
        words = [str(self.program), str(weights), "decode", str(positions)]
        work = Work("decode", positions)
        return Engine("yardstick", "f32", 1, work, lambda repeats: [*words, str(repeats)], isa=self.isa)


_MARCH = {"avx512": "x86-64-v4", "avx2": "x86-64-v3", "sse2": "x86-64"}
"""Our kernels' vectors of floats -> the level of the x86-64 psABI that has them, as compilers take it for -march."""


def march_of(target: Target) -> str | None:
    """What lets a compiler use the vectors that a target's kernels use; None: what it uses unasked."""
    return _MARCH.get(select(target.isa).isa)


def compile_yardstick(march: str | None = "native") -> Yardstick:
    """Compile with the first of gcc, clang and zig that can; kept in the cache for each of them.

    Raises LlgenError with the words of the last one when none can.
    """
    problem = LlgenError("there is no compiler for the yardstick", "apt-get install gcc")
    for name, words, flags in _compilers(march):
        try:
            program = _compiled(words, flags)
        except LlgenError as error:
            problem = error
        else:
            return Yardstick(program, " ".join([name, *flags]), _instruction_set(words, flags))
    raise problem


def _compilers(march: str | None) -> list[tuple[str, Sequence[str], Sequence[str]]]:
    """Name, command and flags of those at hand, in the order of preference."""
    machine = () if march is None else (f"-march={march}",)
    known = [(name, shutil.which(name), ("-Ofast", *machine)) for name in ("gcc", "clang")]
    found: list[tuple[str, Sequence[str], Sequence[str]]] = [(name, [path], f) for name, path, f in known if path]
    # zig spells names of processors with underscores. Its -Ofast leaves fast-math off, which alone would make the
    # yardstick four times slower.
    zig = [flag.replace("x86-64", "x86_64").replace("64-v", "64_v") for flag in machine]
    return [*found, ("zig cc", host_cc(), ("-O3", "-ffast-math", *zig, "-fno-sanitize=undefined"))]


_VECTORS = {
    "__AVX512F__": "AVX-512",
    "__AVX2__": "AVX2",
    "__AVX__": "AVX",
    "__SSE2__": "SSE2",
    "__ARM_FEATURE_SVE": "SVE",
    "__ARM_NEON": "NEON",
}
"""What a compiler defines -> the vectors that this stands for, the widest first."""


def _instruction_set(words: Sequence[str], flags: Sequence[str]) -> str:
    """What the compiler says that it may use."""
    with tempfile.TemporaryDirectory() as temporary:
        (Path(temporary) / "empty.c").touch()
        defined = run_tool([*words, *flags, "-dM", "-E", "empty.c"], Path(temporary)).split()
    vectors = [name for macro, name in _VECTORS.items() if macro in defined][:1] or ["no vectors"]
    return ", ".join([*vectors, *(["FMA"] if "__FMA__" in defined or "__ARM_FEATURE_FMA" in defined else [])])


def _compiled(words: Sequence[str], flags: Sequence[str]) -> Path:
    source = (files("llgen.templates") / "tools" / "yardstick.c").read_bytes()
    # Made for the processor at hand, which another machine with the same cache may not have.
    key = hashlib.sha256(source + "\0".join([*words, *flags, processor()]).encode()).hexdigest()[:16]
    path = cache_directory() / "yardsticks" / f"yardstick-{key}"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as temporary:
            folder = Path(temporary)
            (folder / "yardstick.c").write_bytes(source)
            run_tool([*words, "-std=c11", *flags, "-o", "yardstick", "yardstick.c", "-lm"], folder)
            (folder / "yardstick").replace(path)
    return path


def write_weights(checkpoint: Checkpoint, path: Path) -> None:
    """Write the file that yardstick.c reads."""
    config = checkpoint.config
    layers = [f"model.layers.{index}.{name}" for index in range(config.n_layers) for name in _TENSORS]
    names = ["model.embed_tokens", *layers, "model.norm", *([] if config.tied else ["lm_head"])]
    sizes = (
        config.dim,
        config.hidden_dim,
        config.n_layers,
        config.n_heads,
        config.n_kv_heads,
        config.head_dim,
        config.vocab_size,
        config.tied,
        config.bos_id,
    )
    with path.open("wb") as file:
        file.write(np.array(sizes, np.int32).tobytes())
        file.write(np.array((config.norm_eps, config.rope_theta), np.float32).tobytes())
        for name in names:
            file.write(np.ascontiguousarray(checkpoint.tensors[f"{name}.weight"]).data)
