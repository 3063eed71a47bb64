#!/usr/bin/env bash
# transformers 5.23.0 and 4.57.1
#
# save_pretrained of a PreTrainedTokenizerFast writes another class in release 5, TokenizersBackend, which release 4
# refuses: a tokenizer that was only loaded and saved is no longer read there. Both read the class's older name, beside
# the same tokenizer.json.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

cat > "$work/save.py" << 'EOF'
import json
import pathlib
import sys

import transformers
from tokenizers import Tokenizer, models

folder = pathlib.Path(sys.argv[1])
tokenizer = Tokenizer(models.WordLevel({"<unk>": 0, "word": 1}, unk_token="<unk>"))
transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>").save_pretrained(folder)
print(json.loads((folder / "tokenizer_config.json").read_text())["tokenizer_class"])
EOF
cat > "$work/load.py" << 'EOF'
import json
import pathlib
import sys

import transformers

folder = pathlib.Path(sys.argv[1])
path = folder / "tokenizer_config.json"
for name in ("TokenizersBackend", "PreTrainedTokenizerFast"):
    path.write_text(json.dumps(json.loads(path.read_text()) | {"tokenizer_class": name}))
    try:
        print(f"{name}: {transformers.AutoTokenizer.from_pretrained(folder).tokenize('word')}")
    except ValueError as error:
        print(f"{name}: {error}")
EOF
mkdir "$work/model"
path=$PATH
packages transformers==5.23.0
expect "what 5.23.0 writes of a PreTrainedTokenizerFast" "$(python "$work/save.py" "$work/model" 2> /dev/null)" \
    "TokenizersBackend"
expect "read by 5.23.0" "$(python "$work/load.py" "$work/model" 2> /dev/null)" "\
TokenizersBackend: ['word']
PreTrainedTokenizerFast: ['word']"
PATH=$path
packages transformers==4.57.1
expect "read by 4.57.1" "$(python "$work/load.py" "$work/model" 2> /dev/null)" "\
TokenizersBackend: Tokenizer class TokenizersBackend does not exist or is not currently imported.
PreTrainedTokenizerFast: ['word']"
