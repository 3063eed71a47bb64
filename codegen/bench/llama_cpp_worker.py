"""llama.cpp at work: `python -m llgen.codegen.bench.llama_cpp_worker MODEL.gguf KIND POSITIONS REPEATS THREADS`.

Prints the seconds of each repeat. It calls the C library directly, and tokens are given instead of chosen, so that
Python adds only some microseconds per position. Settings are llama.cpp's defaults, except the number of threads and the
sizes of context and batch.
"""

from __future__ import annotations

import sys
import time

import llama_cpp as lib


def main(argv: list[str]) -> int:
    """Load the model, do the work, print the times; returns the exit code."""
    path, kind, *numbers = argv
    positions, repeats, threads = map(int, numbers)
    silence = lib.llama_log_callback(lambda level, text, user: None)
    lib.llama_log_set(silence, None)
    lib.llama_backend_init()
    model = lib.llama_model_load_from_file(path.encode(), lib.llama_model_default_params())
    if not model:
        print(f"llama.cpp cannot load '{path}'", file=sys.stderr)
        return 1
    settings = lib.llama_context_default_params()
    settings.n_ctx = settings.n_batch = settings.n_ubatch = positions
    settings.n_threads = settings.n_threads_batch = threads
    context = lib.llama_init_from_model(model, settings)
    if not context:
        print(f"llama.cpp cannot make a context of {positions} positions", file=sys.stderr)
        return 1
    vocabulary = lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(model))
    tokens = [(1 + 97 * index) % vocabulary for index in range(positions)]
    # A prompt is one batch, of which only the last logits are needed; in decoding, each position is a batch.
    batches = [(0, tokens)] if kind == "prefill" else [(index, [token]) for index, token in enumerate(tokens)]
    batch = lib.llama_batch_init(positions, 0, 1)
    for index in range(positions):
        batch.n_seq_id[index] = 1
        batch.seq_id[index][0] = 0
    for _ in range(repeats):
        lib.llama_memory_clear(lib.llama_get_memory(context), True)
        begin = time.perf_counter()
        for start, part in batches:
            batch.n_tokens = len(part)
            for index, token in enumerate(part):
                batch.token[index] = token
                batch.pos[index] = start + index
                batch.logits[index] = index + 1 == len(part)
            if lib.llama_decode(context, batch) != 0:
                print(f"llama.cpp failed at position {start}", file=sys.stderr)
                return 1
            lib.llama_get_logits_ith(context, -1)
        print(f"seconds {time.perf_counter() - begin:.9f}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
