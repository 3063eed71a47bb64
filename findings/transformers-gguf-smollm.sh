#!/usr/bin/env bash
# transformers 5.23.0, gguf 0.19.0
#
# A GGUF file names its pre-tokenizer in tokenizer.ggml.pre. AutoTokenizer with gguf_file= knows some of the names;
# "smollm", of SmolLM and SmolLM2, is none of them, and without a word it takes GPT-2's rule, which keeps digits
# together. (That rule splits every digit; the same file as "qwen2", which splits digits too, shows the difference.)
set -euo pipefail
. "$(dirname "$0")/lib.sh"
packages transformers==5.23.0 gguf==0.19.0 torch==2.13.0

cat > "$work/try.py" << 'EOF'
import pathlib
import sys

import gguf
import numpy as np
from tokenizers import pre_tokenizers
from transformers import AutoTokenizer

folder = pathlib.Path(sys.argv[1])
merges = [("1", "2"), ("3", "4"), ("12", "34")]
pieces = ["<unk>", "<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet()), *("".join(pair) for pair in merges)]


def file_with(pre):
    path = folder / f"{pre}.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(32)
    writer.add_block_count(1)
    writer.add_feed_forward_length(32)
    writer.add_head_count(1)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(pieces)
    writer.add_token_types([3, 3, 3] + [1] * (len(pieces) - 3))
    writer.add_token_merges([" ".join(pair) for pair in merges])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_tensor("token_embd.weight", np.zeros((len(pieces), 32), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path.name


for pre in ("qwen2", "gpt-2", "smollm"):
    print(pre.ljust(6), AutoTokenizer.from_pretrained(folder, gguf_file=file_with(pre)).tokenize("1234"))
EOF
expect "tokens of 1234" "$(python "$work/try.py" "$work" 2> "$work/errors")" "\
qwen2  ['1', '2', '3', '4']
gpt-2  ['1234']
smollm ['1234']"
expect "lines about smollm on standard error" "$(grep -c smollm "$work/errors" || true)" "0"
