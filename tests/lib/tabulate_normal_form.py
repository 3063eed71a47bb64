"""Write the table of normal form C, as Hugging Face's `tokenizers` computes it.

    python tests/lib/tabulate_normal_form.py > codegen/model/unicode/normal_form.toml

`tokenizers` decides which characters have a decomposition, which pairs compose, and which characters have a combining
class; it has the data of Unicode 9.0. Python's unicodedata gives the values, which no later version of Unicode changes.
"""

from __future__ import annotations

import textwrap
import unicodedata
from collections import defaultdict
from collections.abc import Iterable

from tokenizers import normalizers

HEAD = """\
# Normal form C of Unicode 9.0 (UAX #15), which `tokenizers` 0.23 uses; all code points are hexadecimal. Hangul
# syllables are not listed. Made from `tokenizers` by tests/lib/tabulate_normal_form.py.
"""
_LAST_OF_CLASSES = "\u0345"  # class 240
_FIRST_OF_CLASSES = "\u0334"  # class 1
_HANGUL = range(0xAC00, 0xD7A4)

_decomposed = normalizers.NFD().normalize_str
_composed = normalizers.NFC().normalize_str


def main() -> None:
    print(table(), end="")


def table() -> str:
    """The content of the table."""
    classes: dict[int, list[int]] = defaultdict(list)
    composed: dict[int, list[str]] = defaultdict(list)
    decomposed: list[str] = []
    for code in (code for code in range(0x110000) if not 0xD800 <= code < 0xE000 and code not in _HANGUL):
        char = chr(code)
        if _decomposed(char) == char:
            if _has_class(char):
                classes[unicodedata.combining(char)].append(code)
            continue
        parts = [int(part, 16) for part in unicodedata.decomposition(char).split()]
        if len(parts) == 2 and _composed("".join(map(chr, parts))) == char:
            composed[parts[1]].append(f"{parts[0]:X}:{code:X}")
        else:
            decomposed.append(f"{code:X}:{'+'.join(f'{part:X}' for part in parts)}")
    sections = [
        HEAD,
        "# Characters by their canonical combining class; all others have class 0.",
        "[classes]",
        *(_entry(str(value), _ranges(codes)) for value, codes in sorted(classes.items())),
        "\n# By the second character of a pair: the first one, and the character that the pair composes to.",
        "[composed]",
        *(_entry(f"{second:X}", pairs) for second, pairs in sorted(composed.items())),
        "\n# Characters that no text in normal form C contains, and what they are replaced by.",
        "[decomposed]",
        _entry("all", decomposed),
    ]
    return "\n".join(sections) + "\n"


def _has_class(char: str) -> bool:
    """Whether a character that decomposes to itself changes places with a mark before or after it."""
    behind, before = _LAST_OF_CLASSES + char, char + _FIRST_OF_CLASSES
    return _decomposed(behind) != behind or _decomposed(before) != before


def _ranges(codes: list[int]) -> list[str]:
    found: list[list[int]] = []
    for code in codes:
        if found and code == found[-1][-1] + 1:
            found[-1].append(code)
        else:
            found.append([code])
    return [f"{each[0]:X}" if len(each) == 1 else f"{each[0]:X}-{each[-1]:X}" for each in found]


def _entry(name: str, words: Iterable[str]) -> str:
    text = " ".join(words)
    if len(text) < 100:
        return f'{name} = "{text}"'
    lines = textwrap.wrap(text, 119, break_on_hyphens=False)
    return "\n".join([f'{name} = """', *lines, '"""'])


if __name__ == "__main__":
    main()
