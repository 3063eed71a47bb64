#!/usr/bin/env bash
# transformers 5.23.0, gguf 0.19.0, accelerate 1.15.0, torch 2.13.0
#
# A GGUF of a Llama says how its positions are scaled by keys llama.rope.scaling.* or, as for Llama 3.1 and 3.2, by
# the tensor rope_freqs.weight. from_pretrained with gguf_file= reads neither, and names neither in its loading report,
# so that the model has unscaled positions and other logits than in llama.cpp. It looks up such keys of gpt-oss alone.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
packages transformers==5.23.0 gguf==0.19.0 accelerate==1.15.0 torch==2.13.0

cat > "$work/try.py" << 'EOF'
import pathlib
import sys

import gguf
import numpy as np
from transformers import LlamaForCausalLM

folder = pathlib.Path(sys.argv[1])
WIDTH = 32
ROWS = {"attn_q": WIDTH, "attn_k": WIDTH, "attn_v": WIDTH, "attn_output": WIDTH}
ROWS |= {"ffn_gate": WIDTH, "ffn_up": WIDTH, "ffn_down": WIDTH}


def frequencies(name, scale):
    """The frequencies of the model that transformers makes of a file, and what its report calls unexpected."""
    writer = gguf.GGUFWriter(folder / f"{name}.gguf", "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(1)
    writer.add_feed_forward_length(WIDTH)
    writer.add_head_count(4)
    writer.add_rope_dimension_count(8)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(["<unk>", "<s>", "</s>", "a"])
    writer.add_token_scores([0.0] * 4)
    writer.add_token_types([2, 3, 3, 1])
    for tensor, rows in ROWS.items():
        writer.add_tensor(f"blk.0.{tensor}.weight", np.ones((rows, WIDTH), np.float32))
    for tensor in ("blk.0.attn_norm", "blk.0.ffn_norm", "output_norm"):
        writer.add_tensor(f"{tensor}.weight", np.ones(WIDTH, np.float32))
    writer.add_tensor("token_embd.weight", np.ones((4, WIDTH), np.float32))
    scale(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    model, report = LlamaForCausalLM.from_pretrained(folder, gguf_file=f"{name}.gguf", output_loading_info=True)
    numbers = " ".join(f"{number:g}" for number in model.model.rotary_emb.inv_freq.tolist())
    return f"{name}: {numbers}, unexpected: {sorted(report['unexpected_keys'])}"


def linear(writer):
    writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
    writer.add_rope_scaling_factor(4.0)


def yarn(writer):
    writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
    writer.add_rope_scaling_factor(4.0)
    writer.add_rope_scaling_orig_ctx_len(16)


print(frequencies("unscaled", lambda writer: None))
print(frequencies("linear", linear))
print(frequencies("yarn", yarn))
print(frequencies("rope_freqs", lambda writer: writer.add_tensor("rope_freqs.weight", np.full(4, 8.0, np.float32))))
EOF
expect "frequencies of four files" "$(python "$work/try.py" "$work" 2> "$work/errors")" "\
unscaled: 1 0.1 0.01 0.001, unexpected: []
linear: 1 0.1 0.01 0.001, unexpected: []
yarn: 1 0.1 0.01 0.001, unexpected: []
rope_freqs: 1 0.1 0.01 0.001, unexpected: []"
expect "lines about it on standard error" "$(grep -ci rope "$work/errors" || true)" "0"
