"""Generated C as a library in the test's own process: fast enough for thousands of calls."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path

import numpy as np
import numpy.typing as npt
from processors import require_processor

from llgen.codegen.model.checkpoint import Checkpoint
from llgen.codegen.plan.extras import PLAIN, Extras
from llgen.codegen.plan.tuning import Values
from llgen.codegen.quantise.quantize import QuantModel, quantized
from llgen.codegen.render.pipeline import Generation, generate
from llgen.codegen.words.flags import NUMERIC_FLAGS, compile_flags
from llgen.targets.schema import Target, load_target

EMIT = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p)


class SamplerStruct(ctypes.Structure):
    _fields_ = (
        ("temperature", ctypes.c_float),
        ("top_p", ctypes.c_float),
        ("top_k", ctypes.c_int32),
        ("ignore_end", ctypes.c_int32),
        ("seed", ctypes.c_uint64),
    )


# Reaches the writer of text inside the tokenizer's file.
_WRITER = """
#include "{p}_tokenizer.c"
#include "{p}_names.h"

void {p}_write(const int32_t *tokens, size_t count, {p}_emit_fn emit);

void {p}_write(const int32_t *tokens, size_t count, {p}_emit_fn emit)
{{
    struct writer w = {{ .emit = emit }};
    for (size_t i = 0; i < count; i++)
        writer_put(&w, tokens[i]);
    {drain}
}}
"""


class Library:
    """One model's functions, on one state."""

    def __init__(
        self,
        source: Checkpoint | QuantModel,
        folder: Path,
        target: str | Target = "x86_64",
        context: int | None = None,
        *,
        scheme: str = "f32",
        kv: str | None = None,
        prefill: int | None = None,
        tuning: Values | None = None,
        extras: Extras = PLAIN,
    ) -> None:
        facts = load_target(target) if isinstance(target, str) else target
        require_processor(facts)
        model = source if isinstance(source, QuantModel) else quantized(source, scheme, kv, context)
        self.generation: Generation = generate(model, facts, prefill=prefill, tuning=tuning, extras=extras)
        write_files(self.generation, folder)
        path = folder / "library.so"
        sources = list(self.generation.model_sources)
        tokenizer = f"{self.generation.words.names.p}_tokenizer.c"
        if tokenizer in sources:
            sources[sources.index(tokenizer)] = "writer.c"
            has_bytes = b"writer_drain" in self.generation.files[tokenizer]
            drain = "writer_drain(&w, true);" if has_bytes else ""
            (folder / "writer.c").write_text(_WRITER.format(p=self.generation.words.names.p, drain=drain))
        flags = ["-O2", "-shared", "-fPIC", *NUMERIC_FLAGS, *compile_flags(facts)]
        command = ["gcc", *flags, "-o", str(path), *sources]
        subprocess.run(command, cwd=folder, check=True)
        self.prefix = self.generation.words.names.p
        self.library = ctypes.CDLL(str(path))
        self.state = ctypes.create_string_buffer(self.generation.memory.ram_bytes)
        self.function("logits").restype = ctypes.c_void_p
        self.function("strerror").restype = ctypes.c_char_p
        self.function("tokens").restype = ctypes.c_void_p
        self.reset()

    def function(self, name: str):  # type: ignore[no-untyped-def]
        return getattr(self.library, f"{self.prefix}_{name}")

    def reset(self) -> None:
        self.function("reset")(self.state)

    def eval(self, token: int) -> int:
        return int(self.function("eval")(self.state, ctypes.c_int32(token)))

    def prefill(self, tokens: list[int]) -> int:
        array = (ctypes.c_int32 * len(tokens))(*tokens)
        return int(self.function("prefill")(self.state, array, ctypes.c_size_t(len(tokens))))

    def logits(self) -> npt.NDArray[np.float32]:
        pointer = self.function("logits")(self.state)
        count = self.generation.model.config.vocab_size
        return np.ctypeslib.as_array(ctypes.cast(pointer, ctypes.POINTER(ctypes.c_float)), (count,)).copy()

    def set_logits(self, values: npt.NDArray[np.float32]) -> None:
        ctypes.memmove(self.function("logits")(self.state), values.tobytes(), values.nbytes)

    def sample(self, how: SamplerStruct | None = None) -> int:
        return int(self.function("sample")(self.state, ctypes.byref(how) if how is not None else None))

    def encode(self, text: bytes, capacity: int | None = None) -> list[int] | int:
        room = 3 * len(text) + 4 if capacity is None else capacity
        array = (ctypes.c_int32 * max(room, 1))()
        count = int(self.function("encode")(text, ctypes.c_size_t(len(text)), array, ctypes.c_size_t(room)))
        return count if count < 0 else list(array[:count])

    def decode(self, previous: int, token: int, capacity: int = 256) -> bytes | int:
        buffer = ctypes.create_string_buffer(max(capacity, 1))
        arguments = (ctypes.c_int32(previous), ctypes.c_int32(token), buffer, ctypes.c_size_t(capacity))
        count = int(self.function("decode")(*arguments))
        return count if count < 0 else buffer.raw[:count]

    def generate(self, prompt: bytes | None, count: int, how: SamplerStruct | None = None, stop_after: int = -1,
                 stop_with: int = 1) -> tuple[int, list[bytes]]:  # fmt: skip
        """The status, and the pieces that were written; `emit` returns `stop_with` after so many of them."""
        pieces: list[bytes] = []

        def emit(text: int, length: int, user: int) -> int:
            pieces.append(ctypes.string_at(text, length))
            return stop_with if len(pieces) == stop_after else 0

        sampler = ctypes.byref(how) if how is not None else None
        status = self.function("generate")(self.state, prompt, ctypes.c_size_t(count), sampler, EMIT(emit), None)
        return int(status), pieces

    def write(self, tokens: list[int]) -> list[bytes]:
        """The pieces that generate would emit for these tokens."""
        pieces: list[bytes] = []

        def emit(text: int, length: int, user: int) -> int:
            pieces.append(ctypes.string_at(text, length))
            return 0

        array = (ctypes.c_int32 * len(tokens))(*tokens)
        self.function("write")(array, ctypes.c_size_t(len(tokens)), EMIT(emit))
        return pieces

    def tokens(self) -> list[int]:
        count = ctypes.c_size_t()
        pointer = self.function("tokens")(self.state, ctypes.byref(count))
        return list(ctypes.cast(pointer, ctypes.POINTER(ctypes.c_int32))[: count.value]) if pointer else []


def write_files(generation: Generation, folder: Path) -> None:
    """Put the generated files into a folder, without manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    for path, content in generation.files.items():
        (folder / path).write_bytes(content)
