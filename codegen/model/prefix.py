"""The prefix of generated C names: a word that headers of C and POSIX and files of the generated folder do not use.

With the prefix `stories`, C declares `stories`, `stories_eval` and `STORIES_VOCAB`, and files are called `stories.h`
and `stories`. A prefix must therefore not be a word that a header declares, the name of a header, or the part before an
underscore of a name in a header.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

from llgen.errors import UsageError

from .architectures import graph_of
from .config import ModelConfig

LONGEST = 31
"""Maximum length of a prefix: C guarantees to distinguish external names by this number of characters."""

_MADE_SAFE = "llm_"
"""Put in front of a name that cannot be a prefix by itself."""


def plain_prefix(name: str) -> str:
    """A model's name in lower case, with underscores for characters that a prefix cannot have."""
    return "".join(char if char.isascii() and char.isalnum() else "_" for char in name).lower()


def required_prefix(name: str) -> str:
    """The prefix that a user asked for. Raises UsageError with the reason when it cannot be a prefix."""
    prefix = plain_prefix(name)
    reason = objection(prefix)
    if reason is not None:
        raise UsageError(f"'{name}' cannot be the prefix of C: {reason}", f"--name {safe_prefix(name)}, or another")
    return prefix


def safe_prefix(name: str) -> str:
    """A prefix for a model of any name: similar to the name, and not used by anything else."""
    plain = re.sub(r"_+", "_", plain_prefix(name)).strip("_")
    for candidate in (plain, plain[:LONGEST].rstrip("_"), (_MADE_SAFE + plain)[:LONGEST].rstrip("_")):
        if objection(candidate) is None:
            return candidate
    raise AssertionError(f"no prefix is safe for {name!r}")


def objection(prefix: str) -> str | None:
    """The reason why a word cannot be a prefix, as the end of a sentence; None when it can."""
    owned = _owned()
    upper = prefix.upper()
    if not re.fullmatch(r"[a-z][a-z0-9_]*", prefix):
        return "it must begin with a letter"
    if len(prefix) > LONGEST:
        return f"it has {len(prefix)} characters; at most {LONGEST} are allowed"
    if "__" in prefix or prefix.endswith("_"):
        return "C++ keeps names with two underscores in a row for itself"
    if prefix in owned.keywords:
        return f"{prefix} is a keyword of C or C++"
    if prefix in owned.predefined:
        return f"compilers define {prefix}"
    if prefix in owned.files:
        return f"its header would hide <{prefix}.h>"
    if prefix in owned.names:
        return f"<{owned.names[prefix]}> declares {prefix}"
    if prefix in owned.cpp_headers:
        return f"its program would hide <{prefix}> of C++"
    if prefix in owned.spaces:
        return f"<{owned.spaces[prefix]}> has names that begin with {prefix}_ or {upper}_"
    if prefix in owned.folder:
        return "a rule or another file of the folder is called so"
    if prefix in owned.devices:
        return "Windows takes a file of that name for a device"
    if _without_numbers(prefix) in _own_words():
        return f"the generated C itself uses {prefix}, or a name that it would begin"
    return None


@dataclass(frozen=True)
class _Owned:
    """Words that are already in use, in lower case."""

    keywords: frozenset[str]
    names: dict[str, str]
    """A word that a header declares or defines -> the header."""
    spaces: dict[str, str]
    """Part before an underscore of a name in a header -> the header."""
    files: frozenset[str]
    """Names of headers, without `.h`."""
    cpp_headers: frozenset[str]
    predefined: frozenset[str]
    folder: frozenset[str]
    devices: frozenset[str]


@cache
def _owned() -> _Owned:
    tables = files("llgen.codegen.model") / "reserved"
    standard = tomllib.loads((tables / "standard.toml").read_text(encoding="utf-8"))
    headers = tomllib.loads((tables / "headers.toml").read_text(encoding="utf-8"))
    names = _by_word(standard["names"]) | _by_word(headers["names"])
    return _Owned(
        keywords=frozenset(standard["keywords"].split()),
        names=names,
        spaces=_by_word(standard["spaces"]) | _by_word(headers["spaces"]),
        files=frozenset(headers["files"].split()),
        cpp_headers=frozenset(standard["cpp_headers"].split()),
        predefined=frozenset(standard["predefined"].split()),
        folder=frozenset(standard["folder"].split()),
        devices=frozenset(standard["devices"].split()),
    )


def _by_word(table: dict[str, str]) -> dict[str, str]:
    return {word: header for header, words in table.items() for word in words.split()}


@cache
def _own_words() -> frozenset[str]:
    """The words of the templates that reach the C: all words except in comments, texts and Jinja's own syntax.

    Also the prefixes with which a generated name would equal one of these words: `l`, because of `l_reset`.
    """
    matrices = graph_of(_ANY).matrices
    widths = {each.name for matrix in matrices.values() for each in (matrix.columns, *(p.rows for p in matrix.parts))}
    words = {*_TILES, *matrices, *(f"{name}_places" for name in matrices)}
    words |= {f"{width}{ending}" for width in widths for ending in ("", "_rows", "_padded")}
    endings = {f"_{name}" for name in matrices}
    for template in [*_templates(files("llgen.templates")), *_templates(files("llgen.targets"))]:
        text = template.read_text(encoding="utf-8").lower()
        endings.update(re.findall(r"\{\{ p \}\}(_\w+)", text))
        spelt = re.sub(r"(?<=\w)\{\{.*?\}\}", "0", re.sub(_NO_WORDS, " ", text))  # sum{{ t }}: sum0, sum1, ...
        words.update(re.findall(r"(?<!\w)[a-z]\w*", re.sub(r"\{\{.*?\}\}", " ", spelt)))
    beginnings = {word.removesuffix(ending) for word in words for ending in endings if word.endswith(ending)}
    return frozenset(_without_numbers(word) for word in words | beginnings)


def _without_numbers(word: str) -> str:
    return re.sub(r"\d+", "0", word)


_TILES = ("tile_1x1", "long_tile_1x1", "int_tile_1x1", "four_tile_1x1")
"""Words of the generated C that no template contains, besides the names of matrices and their dimensions."""

_ANY = ModelConfig(
    dim=2, hidden_dim=2, n_layers=1, n_heads=1, n_kv_heads=1, head_dim=2, vocab_size=3, max_seq_len=1, tied=False
)
"""A configuration with every matrix of the architecture."""

_NO_WORDS = re.compile(
    r'/\*.*?\*/|\{%.*?%\}|\{#.*?#\}|^\s*//.*?$|"(?:\\.|[^"\\\n])*"|#\s*include.*?$', flags=re.DOTALL | re.MULTILINE
)
"""Comments, Jinja's own syntax, texts, and names of files."""


def _templates(folder: Traversable) -> list[Traversable]:
    """The templates of C and its headers, and the vector vocabularies."""
    found = []
    for entry in folder.iterdir():
        if entry.is_dir() and entry.name != "tools":
            found += _templates(entry)
        elif entry.name.endswith((".c.j2", ".h.j2", ".h")):
            found.append(entry)
    return found
