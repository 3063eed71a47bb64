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

from ..checkpoint import Checkpoint
from ..errors import LlgenError
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

    def engine(self, weights: Path, positions: int) -> Engine:
        """Decoding with the weights of a file of `write_weights`."""
        words = [str(self.program), str(weights), "decode", str(positions)]
        return Engine("yardstick", "f32", 1, Work("decode", positions), lambda repeats: [*words, str(repeats)])


def compile_yardstick() -> Yardstick:
    """Compile with the first of gcc, clang and zig that can; kept in the cache for each of them.

    Raises LlgenError with the words of the last one when none can.
    """
    problem = LlgenError("there is no compiler for the yardstick", "apt-get install gcc")
    for name, words, flags in _compilers():
        try:
            program = _compiled(words, flags)
        except LlgenError as error:
            problem = error
        else:
            return Yardstick(program, " ".join([name, *flags]))
    raise problem


def _compilers() -> list[tuple[str, Sequence[str], Sequence[str]]]:
    """Name, command and flags of those at hand, in the order of preference."""
    known = [(name, shutil.which(name), ("-Ofast", "-march=native")) for name in ("gcc", "clang")]
    found: list[tuple[str, Sequence[str], Sequence[str]]] = [(name, [path], f) for name, path, f in known if path]
    # zig's -Ofast leaves fast-math off, which alone would make the yardstick four times slower.
    return [*found, ("zig cc", host_cc(), ("-O3", "-ffast-math", "-march=native", "-fno-sanitize=undefined"))]


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
