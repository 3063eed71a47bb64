#!/usr/bin/env bash
# sentencepiece 0.2.3
#
# Training drops whole lines of valid text: those longer than max_sentence_length (4192), which counts bytes of UTF-8
# and not characters, and those of any length that hold U+2585, a block as text charts have. What stands in such lines
# alone is not learnt. Training succeeds; the log says so, and level 2, which silences its many lines, hides it.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
packages sentencepiece==0.2.3

cat > "$work/try.py" << 'EOF'
import io

import sentencepiece


def learns(letter, line):
    file = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["the cat sat on the mat and saw a bird"] * 200 + [line]),
        model_writer=file,
        model_type="bpe",
        vocab_size=60,
        hard_vocab_limit=False,
        character_coverage=1.0,
        minloglevel=2,
    )
    model = sentencepiece.SentencePieceProcessor(model_proto=file.getvalue())
    return any(letter in model.id_to_piece(i) for i in range(len(model)))


print("4,192 bytes, 2,096 characters:", learns("ö", "ö" * 2096))
print("4,194 bytes, 2,097 characters:", learns("ö", "ö" * 2097))
print("a short line:", learns("z", "zigzag"))
print("a short line with U+2585:", learns("z", "zigzag \u2585"))
EOF
expect "is a letter learnt that only one line has" "$(python "$work/try.py" 2> /dev/null)" "\
4,192 bytes, 2,096 characters: True
4,194 bytes, 2,097 characters: False
a short line: True
a short line with U+2585: False"
