"""Trains the tokenizer: SentencePiece BPE with byte fallback, of the kind that Llama models use.

Byte-pair encoding after Sennrich, Haddow and Birch (2016, arXiv:1508.07909), by SentencePiece (Kudo and Richardson,
2018, arXiv:1808.06226). Text stays as it is (rule "identity"); digits are pieces of their own; what no piece covers,
line breaks among it, is spelled in bytes, so that every text survives encoding and decoding.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import sentencepiece

from llgen.codegen.errors import LlgenError
from llgen.codegen.vocabulary import Vocabulary

from .files import replacing

_FIXED_PIECES = 3 + 256
"""Unknown, BOS and EOS; and the bytes."""
SAMPLE_CHARACTERS = 20_000_000
"""BPE merges are settled long before this much text; more would only cost memory."""


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Vocabulary:
    """A tokenizer of `vocab_size` pieces (unknown 0, BOS 1, EOS 2, bytes 3 to 258) learned from texts.

    Deterministic. At most the first 20 million characters are looked at.
    Raises LlgenError when the vocabulary is too small for the fixed pieces or too large for the text.
    """
    smallest = _FIXED_PIECES + 2
    if vocab_size < smallest:
        raise LlgenError(
            f"a vocabulary of {vocab_size} pieces is too small: bytes and control pieces alone take {_FIXED_PIECES}",
            f"--vocab-size {smallest} or more; 512 suits a model of 260K parameters",
        )
    lines = _sample_lines(texts)
    if not lines:
        raise LlgenError("there is no text to train a tokenizer on", "give --data a file that holds text")
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(_without_rare_characters(lines, (vocab_size - _FIXED_PIECES) // 2)),
            model_writer=model,
            model_type="bpe",
            vocab_size=vocab_size,
            byte_fallback=True,
            character_coverage=1.0,
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            split_digits=True,
            max_sentence_length=1 << 24,  # longer lines would be skipped in silence
            unk_id=0,
            bos_id=1,
            eos_id=2,
            pad_id=-1,
            num_threads=1,
            minloglevel=2,
        )
    except RuntimeError as error:
        raise _explained(error, vocab_size) from error
    return Vocabulary.from_proto(model.getvalue(), "the trained tokenizer")


def kept_tokenizer(path: Path, key: str, make: Callable[[], Vocabulary]) -> Vocabulary:
    """The tokenizer at `path`, if an earlier call with the same key put it there; else what `make` returns, kept there.

    `key` names all that it is made from. The file `tokenizer.key` beside it tells whether both belong together.
    """
    note = path.with_suffix(".key")
    try:
        if note.read_text(encoding="utf-8") == _note(key, path.read_bytes()):
            return Vocabulary.from_file(path)
    except (OSError, UnicodeDecodeError):
        pass  # there is none
    vocabulary = make()
    write_tokenizer(vocabulary, path)
    note.write_text(_note(key, vocabulary.proto), encoding="utf-8")
    return vocabulary


def write_tokenizer(vocabulary: Vocabulary, path: Path) -> None:
    """Write a `tokenizer.model`, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_bytes(vocabulary.proto)


def _note(key: str, proto: bytes) -> str:
    return hashlib.sha256(key.encode() + b"\0" + proto).hexdigest()


def _sample_lines(texts: Iterable[str]) -> list[str]:
    """The lines of the texts, without those that are empty; a line break is never part of a piece."""
    lines: list[str] = []
    total = 0
    for text in texts:
        kept = [line for line in text.split("\n") if line.strip()]
        lines += kept
        total += sum(map(len, kept))
        if total >= SAMPLE_CHARACTERS:
            break
    return lines


def _without_rare_characters(lines: list[str], budget: int) -> list[str]:
    """The lines, cut wherever a character is not among the `budget` most frequent ones.

    Every character that SentencePiece sees takes a piece. Cut out, the rare ones are spelled in bytes, and leave room
    for merges; SentencePiece's own means to that end, the coverage, cannot leave out more than 2 % of a text.
    """
    counts: Counter[str] = Counter()
    for line in lines:
        counts.update(line)
    if len(counts) <= budget:
        return lines
    rare = dict.fromkeys((ord(character) for character, _ in counts.most_common()[budget:]), "\n")
    return [part for line in lines for part in line.translate(rare).split("\n") if part.strip()]


def _explained(error: RuntimeError, vocab_size: int) -> LlgenError:
    too_large = re.search(r"set it to a value <= (\d+)", str(error))
    if too_large:
        limit = int(too_large.group(1))
        return LlgenError(
            f"the text is too small for a vocabulary of {vocab_size} pieces: it yields at most {limit}",
            f"--vocab-size {limit}, or more text",
        )
    return LlgenError(f"SentencePiece could not train a tokenizer of {vocab_size} pieces: {error}", "check the text")
