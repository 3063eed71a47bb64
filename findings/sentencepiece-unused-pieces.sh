#!/usr/bin/env bash
# sentencepiece 0.2.3, protobuf 7.36.1
#
# A BPE piece of the type UNUSED is not as good as left out: text is merged to it, and through it to longer pieces, and
# where it remains at the end it is divided again. So the types of a vocabulary must be kept when its pieces are copied;
# without the piece, or with it as a normal one, the same text has other tokens.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
packages sentencepiece==0.2.3 protobuf==7.36.1

cat > "$work/try.py" << 'EOF'
import sentencepiece
from sentencepiece.sentencepiece_model_pb2 import ModelProto

Piece = ModelProto.SentencePiece


def tokens(*pieces):
    """Of three texts, with these pieces besides those of every vocabulary."""
    model = ModelProto()
    model.trainer_spec.model_type = 2  # BPE
    model.normalizer_spec.add_dummy_prefix = False
    named = [("<unk>", 0, Piece.UNKNOWN), ("<s>", 0, Piece.CONTROL), ("</s>", 0, Piece.CONTROL)]
    letters = [("a", -3, Piece.NORMAL), ("b", -4, Piece.NORMAL), ("c", -5, Piece.NORMAL)]
    for piece, score, kind in [*named, *pieces, ("abc", -2, Piece.NORMAL), *letters]:
        model.pieces.add(piece=piece, score=score, type=kind)
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.SerializeToString())
    return [" ".join(processor.encode(text, out_type=str)) for text in ("ab", "abc", "aba")]


print("ab is normal:", tokens(("ab", -1, Piece.NORMAL)))
print("ab is unused:", tokens(("ab", -1, Piece.UNUSED)))
print("ab is absent:", tokens())
EOF
expect "tokens of ab, abc, and aba" "$(python "$work/try.py")" "\
ab is normal: ['ab', 'abc', 'ab a']
ab is unused: ['a b', 'abc', 'a b a']
ab is absent: ['a b', 'a b c', 'a b a']"
