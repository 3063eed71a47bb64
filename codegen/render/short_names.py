"""Short names: what a model's source files declare for themselves, without the model's prefix.

The sources read better with `usable` than with `stories_usable`. So that several models, and all files of one, may be
one translation unit, a header gives these names the prefix while a file is compiled, and takes them back at its end.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .file_scope import blanked, declared, macros

INTERNAL = "_internal_"
"""What stands between the prefix and a short name."""


@dataclass(frozen=True)
class ShortNames:
    """Names that C declares at file scope without the prefix; each kind in alphabetical order."""

    declared: tuple[str, ...]
    """Functions, types, tags, enumerators and variables."""
    macros: tuple[str, ...]


def short_names(texts: Iterable[str], prefix: str) -> ShortNames:
    """What the texts of C files declare and define, except names that begin with the prefix in either case."""
    codes = [blanked(text) for text in texts]
    defined = {name for code in codes for name in macros(code)}
    names = {name for code in codes for name in declared(code)}

    def own(found: set[str]) -> tuple[str, ...]:
        prefixed = (prefix, prefix.upper())
        kept = (name for name in found if not _begins(name, prefixed))
        return tuple(sorted(kept, key=lambda name: (name.lower(), name)))

    return ShortNames(own(names - defined), own(defined))


def _begins(name: str, prefixes: tuple[str, ...]) -> bool:
    return any(name == prefix or name.startswith(f"{prefix}_") for prefix in prefixes)
