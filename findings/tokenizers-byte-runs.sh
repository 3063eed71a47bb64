#!/usr/bin/env bash
# tokenizers 0.23.3, sentencepiece 0.2.3
#
# The decoder ByteFallback, which tokenizer.json files of Llama models have, decodes a run of byte tokens whole or not at
# all: one byte that is not yet a character turns the complete characters and line breaks before it into replacement
# characters. SentencePiece keeps what is complete. It shows while text is streamed token by token.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
packages tokenizers==0.23.3 sentencepiece==0.2.3

cat > "$work/try.py" << 'EOF'
import io

import sentencepiece
from tokenizers import Tokenizer, decoders, models

file = io.BytesIO()
sentencepiece.SentencePieceTrainer.train(
    sentence_iterator=iter(["a goose laid an egg of gold"] * 50),
    model_writer=file,
    model_type="bpe",
    vocab_size=300,
    byte_fallback=True,
    hard_vocab_limit=False,
    minloglevel=2,
)
reference = sentencepiece.SentencePieceProcessor(model_proto=file.getvalue())
names = [reference.id_to_piece(i) for i in range(len(reference))]
tokenizer = Tokenizer(models.BPE({name: i for i, name in enumerate(names)}, [], byte_fallback=True))
tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
for text in (b"\n\n", b"\n\n\xc3", "ö".encode() + b"\xc3"):
    ids = [names.index(f"<0x{byte:02X}>") for byte in text]
    print(text, "SentencePiece", ascii(reference.decode(ids)), "tokenizers", ascii(tokenizer.decode(ids)))
EOF
expect "texts of the same bytes" "$(python "$work/try.py")" "\
b'\\n\\n' SentencePiece '\\n\\n' tokenizers '\\n\\n'
b'\\n\\n\\xc3' SentencePiece '\\n\\n\\ufffd' tokenizers '\\ufffd\\ufffd\\ufffd'
b'\\xc3\\xb6\\xc3' SentencePiece '\\xf6\\ufffd' tokenizers '\\ufffd\\ufffd\\ufffd'"
