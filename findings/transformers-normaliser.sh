#!/usr/bin/env bash
# transformers 5.23.0
#
# With "tokenizer_class": "LlamaTokenizer" in tokenizer_config.json, the normaliser that tokenizer.json states is not
# applied (here: lower case); with "TokenizersBackend" it is. Same files, same tokenizer.json, other tokens.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
packages transformers==5.23.0

cat > "$work/try.py" << 'EOF'
import json
import pathlib
import sys

import transformers
from tokenizers import Tokenizer, models, normalizers

folder = pathlib.Path(sys.argv[1])
pieces = ["<unk>", "<s>", "</s>", "▁", "a", "b", "▁a", "▁ab"]
tokenizer = Tokenizer(models.BPE({piece: i for i, piece in enumerate(pieces)}, [("▁", "a"), ("▁a", "b")]))
tokenizer.normalizer = normalizers.Sequence(
    [normalizers.Lowercase(), normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
)
tokenizer.save(str(folder / "tokenizer.json"))
print("tokenizers       ", tokenizer.encode("AB ab").tokens)
for name in ("TokenizersBackend", "LlamaTokenizer"):
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": name, "unk_token": "<unk>"}))
    print(name.ljust(17), transformers.AutoTokenizer.from_pretrained(folder).tokenize("AB ab"))
EOF
expect "tokens of 'AB ab'" "$(python "$work/try.py" "$work" 2> /dev/null)" "\
tokenizers        ['▁ab', '▁ab']
TokenizersBackend ['▁ab', '▁ab']
LlamaTokenizer    ['▁', '▁ab']"
