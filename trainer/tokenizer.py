"""Trains the tokenizer: SentencePiece BPE with byte fallback, as Llama models use it.

Byte-pair encoding (Sennrich, Haddow and Birch, 2016, arXiv:1508.07909) in SentencePiece (Kudo and Richardson, 2018,
arXiv:1808.06226). Text is not normalised (rule "identity"), and each digit is a piece of its own. Characters that no
piece contains, such as line breaks, are encoded as bytes, so decoding gives back every text.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import sentencepiece

from llgen.codegen.model.sentence_piece import SentencePiece
from llgen.codegen.model.vocabulary import Vocabulary
from llgen.errors import LlgenError
from llgen.shown import shown_error
from llgen.whole import replacing

_FIXED_PIECES = 3 + 256
"""Pieces that every tokenizer has: unknown, BOS, EOS, and the 256 bytes."""
SAMPLE_CHARACTERS = 20_000_000
"""How much text the tokenizer learns from; more would take memory and hardly change the pieces."""

_RESERVED = "\u2585"
"""The character with which SentencePiece marks unknown characters in training."""


def train_tokenizer(texts: Iterable[str], vocab_size: int, option: str = "--vocab-size {}") -> SentencePiece:
    """A tokenizer of `vocab_size` pieces (unknown 0, BOS 1, EOS 2, bytes 3 to 258) learned from `texts`.

    The result is deterministic. It learns from the first 20 million characters. `option` is the option for the number
    of pieces, for hints.
    Raises LlgenError when the vocabulary is too small for the fixed pieces or too large for the text.
    """
    smallest = _FIXED_PIECES + 2
    if vocab_size < smallest:
        raise LlgenError(
            f"a vocabulary of {vocab_size} pieces is too small: bytes and control pieces alone take {_FIXED_PIECES}",
            f"{option.format(smallest)} or more; 512 suits a model of 260K parameters",
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
            max_sentence_length=1 << 24,  # SentencePiece skips longer lines without a message
            unk_id=0,
            bos_id=1,
            eos_id=2,
            pad_id=-1,
            num_threads=1,
            minloglevel=2,
        )
    except RuntimeError as error:
        raise _explained(error, vocab_size, option) from error
    return SentencePiece.from_proto(model.getvalue(), "the trained tokenizer")


def kept_tokenizer(path: Path, key: str, make: Callable[[], Vocabulary]) -> Vocabulary:
    """The tokenizer at `path` if an earlier call with the same `key` wrote it; else `make` makes it and it is written.

    `key` describes everything that the tokenizer is made from. Its digest is in the file `tokenizer.key` beside `path`.
    """
    note = path.with_suffix(".key")
    try:
        if note.read_text(encoding="utf-8") == _note(key, path.read_bytes()):
            return SentencePiece.from_file(path)
    except (OSError, UnicodeDecodeError):
        pass  # there is no tokenizer yet
    vocabulary = make()
    write_tokenizer(vocabulary, path)
    with replacing(note) as temporary:
        temporary.write_text(_note(key, vocabulary.identity), encoding="utf-8")
    return vocabulary


def write_tokenizer(vocabulary: Vocabulary, path: Path) -> None:
    """Write a `tokenizer.model` whole or not at all. Raises LlgenError for a tokenizer of another kind."""
    if not isinstance(vocabulary, SentencePiece):
        raise LlgenError(
            "the tokenizer is byte-level BPE; the trainer takes SentencePiece's alone",
            "a tokenizer.model as --tokenizer, or none, so that one is trained",
        )
    with replacing(path) as temporary:
        temporary.write_bytes(vocabulary.proto)


def _note(key: str, proto: bytes) -> str:
    return hashlib.sha256(key.encode() + b"\0" + proto).hexdigest()


def _sample_lines(texts: Iterable[str]) -> list[str]:
    """The lines of the texts, without empty lines; a line break is never part of a piece.

    Lines are also cut at U+2585, because SentencePiece would skip a whole line with it; it is then encoded as bytes.
    """
    lines: list[str] = []
    total = 0
    for text in texts:
        kept = [line for line in text.replace(_RESERVED, "\n").split("\n") if line.strip()]
        lines += kept
        total += sum(map(len, kept))
        if total >= SAMPLE_CHARACTERS:
            break
    return lines


def _without_rare_characters(lines: list[str], budget: int) -> list[str]:
    """The lines, cut at each character that is not among the `budget` most frequent characters.

    Every character in SentencePiece's training text becomes a piece. Rare characters that are cut out are encoded as
    bytes, which leaves pieces for merges. SentencePiece's option for this, the coverage, leaves out 2 % of a text at
    most.
    """
    counts: Counter[str] = Counter()
    for line in lines:
        counts.update(line)
    if len(counts) <= budget:
        return lines
    rare = dict.fromkeys((ord(character) for character, _ in counts.most_common()[budget:]), "\n")
    return [part for line in lines for part in line.translate(rare).split("\n") if part.strip()]


def _explained(error: RuntimeError, vocab_size: int, option: str) -> LlgenError:
    too_large = re.search(r"set it to a value <= (\d+)", str(error))
    if too_large:
        limit = int(too_large.group(1))
        return LlgenError(
            f"the text is too small for a vocabulary of {vocab_size} pieces: it yields at most {limit}",
            f"{option.format(limit)}, or more text" if limit >= _FIXED_PIECES + 2 else "more text",
        )
    return LlgenError(
        f"SentencePiece could not train a tokenizer of {vocab_size} pieces: {shown_error(error)}", "check the text"
    )
