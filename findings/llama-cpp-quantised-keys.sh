#!/usr/bin/env bash
# llama-cpp-python 0.3.36, gguf 0.19.0, numpy 2.4.6
#
# llama.cpp's K cache in Q8_0 has blocks of 32 numbers. For heads of 48, which 32 does not divide, it is refused with
# flash attention; without, it is taken, nothing is said, and the logits are others, or none at all (NaN). Heads of 32
# and 64 are right, and so are those of 48 with a cache in F16. (pip compiles llama.cpp, which takes many minutes.)
set -euo pipefail
. "$(dirname "$0")/lib.sh"
needs c++ g++
packages llama-cpp-python==0.3.36 gguf==0.19.0 numpy==2.4.6

cat > "$work/try.py" << 'EOF'
import pathlib
import sys

import gguf
import llama_cpp
import numpy as np

HEADS, LAYERS, WORDS = 2, 2, 64
ids = [7 * i % WORDS for i in range(32)]


def file_with(width):
    """A random model with heads of so many numbers."""
    path = pathlib.Path(sys.argv[1]) / f"{width}.gguf"
    dim, random = width * HEADS, np.random.default_rng(1)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(256)
    writer.add_embedding_length(dim)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(2 * dim)
    writer.add_head_count(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(width)
    writer.add_vocab_size(WORDS)
    writer.add_tokenizer_model("none")

    def matrix(name, rows, columns):
        values = random.standard_normal((rows, columns)) / np.sqrt(columns)
        writer.add_tensor(f"{name}.weight", values.astype(np.float32))

    def ones(name):
        writer.add_tensor(f"{name}.weight", np.ones(dim, np.float32))

    matrix("token_embd", WORDS, dim)
    matrix("output", WORDS, dim)
    ones("output_norm")
    for layer in range(LAYERS):
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            matrix(f"blk.{layer}.{name}", dim, dim)
        matrix(f"blk.{layer}.ffn_gate", 2 * dim, dim)
        matrix(f"blk.{layer}.ffn_up", 2 * dim, dim)
        matrix(f"blk.{layer}.ffn_down", dim, 2 * dim)
        ones(f"blk.{layer}.attn_norm")
        ones(f"blk.{layer}.ffn_norm")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return str(path)


def logits(path, keys, flash=False):
    model = llama_cpp.Llama(
        path, n_ctx=256, n_threads=1, logits_all=True, type_k=keys, flash_attn=flash, verbose=False
    )
    model.eval(ids)
    return np.array(model.scores[: len(ids)])


def verdict(found, expected):
    share = np.abs(found - expected).max() / np.ptp(expected)
    return "within 2 %" if share < 0.02 else "wrong"  # NaN is wrong


for width in (32, 48, 64):
    path = file_with(width)
    exact = logits(path, llama_cpp.GGML_TYPE_F32)
    print(f"heads of {width}, F16:  {verdict(logits(path, llama_cpp.GGML_TYPE_F16), exact)}")
    print(f"heads of {width}, Q8_0: {verdict(logits(path, llama_cpp.GGML_TYPE_Q8_0), exact)}")
    try:
        logits(path, llama_cpp.GGML_TYPE_Q8_0, flash=True)
        print(f"heads of {width}, Q8_0, flash attention: taken")
    except ValueError as error:
        print(f"heads of {width}, Q8_0, flash attention: {error}")
EOF
expect "logits beside those with a K cache in F32" "$(python "$work/try.py" "$work" 2> "$work/errors")" "\
heads of 32, F16:  within 2 %
heads of 32, Q8_0: within 2 %
heads of 32, Q8_0, flash attention: taken
heads of 48, F16:  within 2 %
heads of 48, Q8_0: wrong
heads of 48, Q8_0, flash attention: Failed to create llama_context
heads of 64, F16:  within 2 %
heads of 64, Q8_0: within 2 %
heads of 64, Q8_0, flash attention: taken"
