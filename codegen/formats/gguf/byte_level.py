"""A byte-level BPE vocabulary in GGUF's metadata: tokens, types, merges, and a name for the rules that divide text.

llama.cpp knows these rules by name alone; the file holds no expression.
"""

from __future__ import annotations

from gguf import GGUFWriter

from llgen.errors import LlgenError, did_you_mean
from llgen.shown import shown

from ...model.byte_level import ByteLevel
from ...model.vocabulary import Kind, Piece
from ...model.word_pattern import DIGITS, GPT2, WordPattern
from ..hf.byte_level_json import merge_ids, normal_piece
from .metadata import Metadata

MODEL = "gpt2"
_PREFIX = "tokenizer.ggml"

_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)

_WORDS = {
    "gpt-2": (GPT2,),
    "mpt": (GPT2,),
    "olmo": (GPT2,),
    "smollm": (DIGITS, GPT2),
    "starcoder": (DIGITS, GPT2),
    "refact": (DIGITS, GPT2),
    "command-r": (DIGITS, GPT2),
    "llama-bpe": (_LLAMA3,),
    "llama3": (_LLAMA3,),
    "llama-v3": (_LLAMA3,),
    "dbrx": (_LLAMA3,),
    "smaug-bpe": (_LLAMA3,),
}
"""The expressions that divide text, by the name of the rules; of equal ones, the first name is written."""
_WHOLE_WORDS = ("llama-bpe", "llama3", "llama-v3")
"""Rules by which a word that is a token is not merged from parts."""


def adds_bos(meta: Metadata) -> bool:
    """Whether llama.cpp puts BOS in front of a text when the file does not say so."""
    return meta.pairs.get(f"{_PREFIX}.pre") in _WHOLE_WORDS


def read_byte_level(meta: Metadata, texts: list[str], kinds: list[Kind]) -> ByteLevel:
    """Make the vocabulary of a file's tokens and their types.

    Raises LlgenError for rules that llgen does not know, and for merges of what is no token.
    """
    pre = meta.text(f"{_PREFIX}.pre")
    if pre not in _WORDS:
        raise LlgenError(
            f"'{meta.path}' divides text by the rules '{shown(pre)}', which llgen does not know"
            f"{did_you_mean(pre, list(_WORDS))}",
            f"known rules: {', '.join(_WORDS)}; or give the model's tokenizer.json as --tokenizer",
        )
    merges = meta.texts(f"{_PREFIX}.merges")
    pairs = [(left, right) for left, _, right in (merge.partition(" ") for merge in merges)]
    pieces = [
        _piece(text, kind, index, str(meta.path)) for index, (text, kind) in enumerate(zip(texts, kinds, strict=True))
    ]
    return ByteLevel(
        pieces=tuple(pieces),
        unknown_id=-1,
        bos_id=meta.whole(f"{_PREFIX}.bos_token_id", -1),
        eos_id=meta.whole(f"{_PREFIX}.eos_token_id", -1),
        merges=merge_ids(pairs, texts, str(meta.path)),
        pattern=WordPattern.of(_WORDS[pre]),
        whole_words=pre in _WHOLE_WORDS,
    )


def _piece(text: str, kind: Kind, index: int, source: str) -> Piece:
    return normal_piece(text, index, source) if kind is Kind.NORMAL else Piece(text, 0.0, kind)


def write_byte_level(writer: GGUFWriter, vocabulary: ByteLevel) -> None:
    """Add a vocabulary. Raises LlgenError when llama.cpp has no name for the rules that divide its text."""
    facts = vocabulary.pattern.sources, vocabulary.whole_words
    names = [name for name, sources in _WORDS.items() if (sources, name in _WHOLE_WORDS) == facts]
    if not names:
        raise LlgenError(
            f"GGUF has no name for the rules by which this tokenizer divides text: '{shown(' '.join(facts[0]))}'",
            "export it as a Hugging Face directory",
        )
    pieces = vocabulary.pieces
    writer.add_tokenizer_model(MODEL)
    writer.add_tokenizer_pre(names[0])
    writer.add_token_list([piece.text for piece in pieces])
    writer.add_token_types([int(piece.kind) for piece in pieces])
    writer.add_token_merges([f"{pieces[left].text} {pieces[right].text}" for left, right in vocabulary.merges])
    writer.add_add_space_prefix(False)
