#!/usr/bin/env bash
# transformers 5.23.0, torch 2.13.0
#
# LlamaConfig has no field is_causal, and yet "is_causal": false in the config.json of a Llama lets each position attend
# to those that follow, silently, with eager attention and with sdpa: the logits at a position depend on the next token.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
packages transformers==5.23.0 torch==2.13.0

cat > "$work/try.py" << 'EOF'
import json
import pathlib
import sys

import torch
import transformers

folder = pathlib.Path(sys.argv[1])
torch.manual_seed(1)
config = transformers.LlamaConfig(
    vocab_size=64,
    hidden_size=32,
    intermediate_size=64,
    num_hidden_layers=2,
    num_attention_heads=2,
    max_position_embeddings=64,
    initializer_range=0.2,
)
print("LlamaConfig has is_causal:", hasattr(config, "is_causal"))
transformers.LlamaForCausalLM(config).save_pretrained(folder)
saved = json.loads((folder / "config.json").read_text())
for attention in ("eager", "sdpa"):
    for keys in ({}, {"is_causal": False}):
        (folder / "config.json").write_text(json.dumps(saved | keys))
        model = transformers.LlamaForCausalLM.from_pretrained(folder, attn_implementation=attention).eval()
        with torch.no_grad():
            one, other = (model(torch.tensor([[1, 5, last]])).logits[0, :2] for last in (7, 9))
        print(attention, keys, "same" if torch.equal(one, other) else "other logits")
EOF
expect "logits at positions 0 and 1 with another token at position 2" \
    "$(python "$work/try.py" "$work" 2> "$work/errors")" "\
LlamaConfig has is_causal: False
eager {} same
eager {'is_causal': False} other logits
sdpa {} same
sdpa {'is_causal': False} other logits"
expect "lines about it on standard error" "$(grep -ci causal "$work/errors" || true)" "0"
