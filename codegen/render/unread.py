"""Headers without the declarations that nothing reads.

Templates and the vocabularies of instruction sets define what any model may need; which of it a model's own files read
is known once these files are rendered. A declaration stays when a source file reads its name, or when a declaration
that stays does. A comment stays when a declaration below it does. A linker treats sections in the same way.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from .file_scope import blanked, declared, macros, words

_ENUMERATOR = re.compile(r"^ +(\w+) *=(?= \w+,)")


@dataclass(frozen=True)
class _Piece:
    """Lines that stay or go together: a declaration, a directive, or an enumerator."""

    lines: Sequence[str]
    names: frozenset[str]
    """What it declares; nothing: it stays."""
    reads: frozenset[str]


@dataclass
class _Passage:
    """A comment and the pieces below it, up to an empty line or the next comment."""

    comment: list[str] = field(default_factory=list)
    pieces: list[_Piece] = field(default_factory=list)
    after_gap: bool = False
    """An empty line stands above it."""


def without_unread(headers: Mapping[str, str], readers: Iterable[str]) -> dict[str, str]:
    """The headers of these paths, without the declarations that neither the readers' texts nor others of them need."""
    passages = {path: _passages(text) for path, text in headers.items()}
    pieces = [piece for each in passages.values() for passage in each for piece in passage.pieces]
    read = _read(pieces, readers)
    return {path: "".join(_lines(each, read)) for path, each in passages.items()}


def _read(pieces: Sequence[_Piece], readers: Iterable[str]) -> set[str]:
    """All names that are read, directly or by a declaration whose name is read."""
    declaring: dict[str, list[_Piece]] = defaultdict(list)
    waiting = [word for text in readers for word in words(blanked(text))]
    for piece in pieces:
        waiting += piece.reads if not piece.names else ()
        for name in piece.names:
            declaring[name].append(piece)
    read: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name not in read:
            read.add(name)
            waiting += [word for piece in declaring[name] for word in piece.reads]
    return read


def _lines(passages: Iterable[_Passage], read: set[str]) -> Iterator[str]:
    gap = False
    for passage in passages:
        kept = [piece for piece in passage.pieces if not piece.names or piece.names & read]
        gap = gap or passage.after_gap
        if passage.pieces and not kept:
            continue
        if gap:
            yield "\n"
        gap = False
        yield from passage.comment
        yield from _lined_up([line for piece in kept for line in piece.lines])


def _lined_up(lines: Sequence[str]) -> list[str]:
    """Lines with the values of enumerators below one another, as near to the names as the longest name allows."""
    width = max((len(line.split()[0]) for line in lines if _ENUMERATOR.match(line)), default=0)
    return [_ENUMERATOR.sub(lambda found: f"    {found[1].ljust(width)} =", line) for line in lines]


def _passages(text: str) -> list[_Passage]:
    lines, code = text.splitlines(keepends=True), blanked(text).splitlines(keepends=True)
    passages = [_Passage()]
    at = 0
    while at < len(lines):
        if not lines[at].strip():
            passages.append(_Passage(after_gap=True))
            at += 1
        elif not code[at].strip():
            if passages[-1].pieces:
                passages.append(_Passage())
            passages[-1].comment.append(lines[at])
            at += 1
        else:
            end = _end(code, at)
            own = "".join(code[at:end])
            passages[-1].pieces.append(_Piece(lines[at:end], _names(own), words(own)))
            at = end
    return passages


def _end(code: Sequence[str], start: int) -> int:
    """The line after the piece that begins at a line. Each line of an enumeration is a piece."""
    if _opens_enumeration(code[start]) or _is_enumerator(code[start]) or _closes(code[start]):
        return start + 1
    directive = code[start].startswith("#")
    depth = 0
    for at, line in enumerate(code[start:], start):
        depth += line.count("{") - line.count("}")
        last = line.rstrip()[-1:]
        if (directive and last != "\\") or (not directive and depth == 0 and last in (";", "}")):
            return at + 1
    return len(code)


def _names(piece: str) -> frozenset[str]:
    if _is_enumerator(piece):
        return frozenset(piece.split()[:1])
    return frozenset() if _opens_enumeration(piece) or _closes(piece) else declared(piece) | macros(piece)


def _opens_enumeration(line: str) -> bool:
    return line.rstrip() == "enum {"


def _closes(line: str) -> bool:
    return line.startswith("}")


def _is_enumerator(line: str) -> bool:
    """Whether a piece that begins with this line is an enumerator: all others begin at the beginning of a line."""
    return line.startswith(" ")
