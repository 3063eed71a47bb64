#!/usr/bin/env bash
# llama-cpp-python 0.3.36, gguf 0.19.0, numpy 2.4.6
#
# The parameters of yarn have keys rope.scaling.yarn_* of their own, and llama.cpp's converter from Hugging Face's files
# writes attention_factor, beta_fast and beta_slow there. For a Llama llama.cpp reads none of them, and says nothing: the
# model computes with the default values. Only rope.scaling.attn_factor, which the converter does not write, has an effect.
# (pip compiles llama.cpp, which takes many minutes.)
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

folder = pathlib.Path(sys.argv[1])
WIDTH, ROWS, POSITIONS = 64, 32, 64


def logits(name, **yarn):
    """The logits of a small random Llama whose positions are scaled by yarn, the same weights for each name."""
    path = folder / f"{name}.gguf"
    generator = np.random.default_rng(1)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(POSITIONS)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(1)
    writer.add_feed_forward_length(WIDTH)
    writer.add_head_count(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
    writer.add_rope_scaling_factor(4.0)
    writer.add_rope_scaling_orig_ctx_len(16)
    for key, value in yarn.items():
        getattr(writer, f"add_rope_scaling_{key}")(value)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(["<unk>", "<s>", "</s>", *(f"t{index}" for index in range(3, ROWS))])
    writer.add_token_scores([0.0] * ROWS)
    writer.add_token_types([2, 3, 3, *[1] * (ROWS - 3)])
    writer.add_tensor("token_embd.weight", generator.standard_normal((ROWS, WIDTH)).astype(np.float32))
    for tensor in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"):
        matrix = generator.standard_normal((WIDTH, WIDTH)) / WIDTH**0.5
        writer.add_tensor(f"blk.0.{tensor}.weight", matrix.astype(np.float32))
    for tensor in ("blk.0.attn_norm", "blk.0.ffn_norm", "output_norm"):
        writer.add_tensor(f"{tensor}.weight", np.ones(WIDTH, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    model = llama_cpp.Llama(str(path), n_ctx=POSITIONS, logits_all=True, n_threads=1, verbose=False)
    model.eval([7 * position % ROWS for position in range(POSITIONS)])
    return np.array(model.scores[:POSITIONS])


usual = logits("usual")
for name, yarn in {
    "yarn_attn_factor": {"yarn_attn_factor": 0.5},
    "yarn_beta_fast": {"yarn_beta_fast": 2.0},
    "yarn_beta_slow": {"yarn_beta_slow": 0.25},
    "yarn_ext_factor": {"yarn_ext_factor": 0.0},
    "attn_factor": {"attn_factors": 0.5},
}.items():
    print(f"{name}: {'the same' if np.array_equal(logits(name, **yarn), usual) else 'other'} logits")
EOF
expect "logits beside those without the key" "$(python "$work/try.py" "$work" 2> "$work/errors")" "\
yarn_attn_factor: the same logits
yarn_beta_fast: the same logits
yarn_beta_slow: the same logits
yarn_ext_factor: the same logits
attn_factor: other logits"
expect "lines about yarn on standard error" "$(grep -ci yarn "$work/errors" || true)" "0"
