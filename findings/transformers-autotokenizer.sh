#!/usr/bin/env bash
# transformers 5.23.0, sentencepiece 0.2.3
#
# AutoTokenizer takes a folder of config.json (model_type llama) and tokenizer.model without a warning, and splits plain
# text by another rule than the SentencePiece model in that folder: no space is put in front of the text. The class
# LlamaTokenizer, or tokenizer_config.json with that class's name, gives SentencePiece's pieces.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
packages transformers==5.23.0 sentencepiece==0.2.3 protobuf==7.36.2

cat > "$work/try.py" << 'EOF'
import json
import pathlib
import sys

import sentencepiece
import transformers

folder = pathlib.Path(sys.argv[1])
lines = ["The miller had three sons and a grey cat.", "The cat asked the miller for a pair of boots."] * 50
sentencepiece.SentencePieceTrainer.train(
    sentence_iterator=iter(lines),
    model_prefix=str(folder / "tokenizer"),
    model_type="bpe",
    vocab_size=320,
    byte_fallback=True,
    normalization_rule_name="identity",
    hard_vocab_limit=False,
    minloglevel=2,
)
model = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
(folder / "config.json").write_text(json.dumps({"model_type": "llama", "vocab_size": len(model)}))

text = "The miller asked the cat"
print("SentencePiece ", model.encode(text, out_type=str)[:3])
print("AutoTokenizer ", transformers.AutoTokenizer.from_pretrained(folder).tokenize(text)[:3])
(folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "LlamaTokenizer"}))
print("with its class", transformers.AutoTokenizer.from_pretrained(folder).tokenize(text)[:3])
EOF
expect "the first pieces of one text" "$(python "$work/try.py" "$work" 2> "$work/errors")" "\
SentencePiece  ['▁The', '▁miller', '▁a']
AutoTokenizer  ['T', 'he', '▁miller']
with its class ['▁The', '▁miller', '▁a']"
expect "lines about it on standard error" "$(grep -ciE 'sentencepiece|tokenizer.model|LlamaTokenizer' "$work/errors" || true)" "0"
