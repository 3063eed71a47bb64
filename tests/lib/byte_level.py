"""Byte-level tokenizers that Hugging Face's `tokenizers` trains on a few lines of many scripts."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from llgen.codegen.formats.detect import read_vocabulary
from llgen.codegen.model.byte_level import ByteLevel

LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace("{1,3}", "")

LINES = [
    "The quick brown fox jumps over the lazy dog, and the dog isn't amused: it's 12 o'clock!",
    "Der Bär läuft über die Straße. Ça va très bien, merci; où êtes-vous allés aujourd'hui?",
    "Привет, мир! Как дела сегодня? Хорошо, спасибо, а у вас?",
    "中文和日本語のテキスト。今日はいい天気ですね。我们都很好。",
    "नमस्ते दुनिया, आप कैसे हैं? שלום עולם, מה שלומך? مرحبا بالعالم كيف حالك",
    "for i in range(100):\n    print(i)  # prints 0 ... 99\n\treturn None\r\n\r\n",
    "😀 smiles 😀 and 🎉 parties, ½ of 3.14159 is 1.570795; ١٢٣٤ and Ⅷ",
] * 3


def _words(kind: str) -> pre_tokenizers.PreTokenizer:
    bytewise = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=kind in ("gpt2", "smollm"))
    if kind in ("gpt2", "smollm"):
        digits = [pre_tokenizers.Digits(individual_digits=True)] if kind == "smollm" else []
        return pre_tokenizers.Sequence([*digits, bytewise])
    expression = LLAMA3 if kind == "llama3" else QWEN2
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(expression), "isolated"), bytewise])


KINDS = ("gpt2", "smollm", "llama3", "qwen2")


@cache
def trained(kind: str, size: int = 420, *, every_byte: bool = True, added: bool = True) -> Tokenizer:
    """A tokenizer of `size` pieces; without `every_byte`, only the bytes of LINES are pieces. No control is in text."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=kind == "llama3"))
    tokenizer.pre_tokenizer = _words(kind)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet() if every_byte else []
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=alphabet, special_tokens=special, show_progress=False
    )
    tokenizer.train_from_iterator(LINES, trainer)
    if added:
        names = ["<think>", "<think>x", "    ", "\n\n", "naïve☕"]
        tokenizer.add_tokens([AddedToken(name, special=False, normalized=False) for name in names])
    tokenizer.encode_special_tokens = True
    return tokenizer


def saved(tokenizer: Tokenizer, folder: Path) -> ByteLevel:
    """The same tokenizer as llgen reads it from its file."""
    path = folder / "tokenizer.json"
    tokenizer.save(str(path))
    found = read_vocabulary(path)
    assert isinstance(found, ByteLevel)
    return found
