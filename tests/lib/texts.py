"""Texts at random, of all that a tokenizer may meet: scripts, spaces, control characters, emoji, names of tokens."""

from __future__ import annotations

import random
from collections.abc import Iterator

_WORDS = [
    "Once", "upon", "a", "time", "there", "was", "the", "little", "fox", "who", "said", "hello", "and", "ran", "ball,",
    "home!", "“Why?”", "I'll", "12", "345", "½", "é", "中文", "𝔘",
]  # fmt: skip
_SCRIPTS = (
    (0x61, 0x7A), (0x41, 0x5A), (0x21, 0x7E), (0xC0, 0x24F), (0x370, 0x3FF), (0x400, 0x4FF), (0x590, 0x5FF),
    (0x600, 0x6FF), (0x900, 0x97F), (0xE00, 0xE7F), (0x3040, 0x30FF), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3),
    (0x1D400, 0x1D7FF), (0x1F300, 0x1F6FF), (0x20000, 0x2A6DF), (0x100000, 0x10FFFD),
)  # fmt: skip
_SPACES = [
    " ", "  ", "   ", "\u00a0", "\u2009", "\u200b", "\u3000", "\t", "\n", "\n\n", "\r\n", "\u2028", "▁", "▁▁", "▁ ▁",
]  # fmt: skip
_JOINED = [
    "\u0301", "\u200d", "👨\u200d👩\u200d👧", "🏳\ufe0f\u200d🌈", "🇩🇪", "e\u0301\u0323", "\u202e", "\ufeff", "\ufffd",
    "\ufffe",
]  # fmt: skip
_TOKENS = ["<s>", "</s>", "<unk>", "<pad>", "<0x0A>", "<0xFF>", "<|im_end|>", "[INST]", "<s", "s>", "<s><s>", " </s>"]


def random_texts(count: int, seed: int = 0) -> list[str]:
    """So many texts, the same for one seed; the first are the short ones that need no chance."""
    chosen = random.Random(seed)
    plain = ["", *_SPACES, *_JOINED, *_TOKENS, *_WORDS]
    return (plain + [_text(chosen) for _ in range(count - len(plain))])[:count]


def _text(chosen: random.Random) -> str:
    return "".join(part for _ in range(chosen.randrange(1, 12)) for part in _parts(chosen))


def _parts(chosen: random.Random) -> Iterator[str]:
    kind = chosen.random()
    if kind < 0.35:
        yield chosen.choice(_WORDS) + " " * chosen.randrange(3)
    elif kind < 0.65:
        first, last = chosen.choice(_SCRIPTS)
        for _ in range(chosen.randrange(1, 6)):
            yield chr(chosen.randint(first, last))
    elif kind < 0.80:
        yield chosen.choice(_SPACES)
    elif kind < 0.87:
        yield chr(chosen.choice([*range(1, 32), *range(127, 160)]))
    elif kind < 0.93:
        yield chosen.choice(_JOINED)
    else:
        yield chosen.choice(_TOKENS)
