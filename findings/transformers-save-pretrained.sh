#!/usr/bin/env bash
# transformers 5.23.0, sentencepiece 0.2.3
#
# save_pretrained of a LlamaTokenizer that was loaded from tokenizer.model writes tokenizer.json and
# tokenizer_config.json, and not tokenizer.model: programs that read SentencePiece find no tokenizer in the copy.
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
sentencepiece.SentencePieceTrainer.train(
    sentence_iterator=iter(["a goose laid an egg of gold"] * 50),
    model_prefix=str(folder / "tokenizer"),
    model_type="bpe",
    vocab_size=300,
    byte_fallback=True,
    hard_vocab_limit=False,
    minloglevel=2,
)
(folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
tokenizer = transformers.LlamaTokenizer.from_pretrained(folder)
tokenizer.save_pretrained(folder / "copy")
print(*sorted(path.name for path in (folder / "copy").iterdir()))
EOF
expect "files of the copy" "$(python "$work/try.py" "$work" 2> /dev/null)" "tokenizer.json tokenizer_config.json"
