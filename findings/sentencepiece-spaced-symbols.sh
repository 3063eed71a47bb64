#!/usr/bin/env bash
# sentencepiece 0.2.3
#
# Training takes a user-defined symbol that holds a space, gives it an id, and no text ever becomes that id: spaces are
# escaped as U+2581 before symbols are looked for, and the symbol is not. Written with U+2581 it works.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
packages sentencepiece==0.2.3

cat > "$work/try.py" << 'EOF'
import io

import sentencepiece

for symbol in ("<end>", "<the end>", "<the▁end>"):
    file = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["the cat sat on the mat and saw a bird"] * 50),
        model_writer=file,
        model_type="bpe",
        vocab_size=40,
        hard_vocab_limit=False,
        user_defined_symbols=[symbol],
        minloglevel=2,
    )
    model = sentencepiece.SentencePieceProcessor(model_proto=file.getvalue())
    print(f"{symbol}: id {model.piece_to_id(symbol)}, found: {3 in model.encode('a cat ' + symbol)}")
EOF
expect "symbols in a text that holds them" "$(python "$work/try.py")" "\
<end>: id 3, found: True
<the end>: id 3, found: False
<the▁end>: id 3, found: True"
