"""What the text of a C file declares at file scope, and the words that it reads.

A reader of llgen's own templates, not of any C: each declaration begins at the beginning of a line.
"""

from __future__ import annotations

import re

_COMMENTS_AND_TEXTS = re.compile(r"/\*.*?\*/|\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])+'", re.DOTALL)
_CONTINUED = re.compile(r"\\\n")
_DIRECTIVES = re.compile(r"^[ ]*#.*$", re.MULTILINE)
_NO_NAMES = frozenset({"char", "const", "float", "inline", "int", "static", "unsigned", "void"})


def blanked(text: str) -> str:
    """C whose comments and texts in quotes are spaces; all else stands where it stood."""
    return _COMMENTS_AND_TEXTS.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), text)


def words(code: str) -> frozenset[str]:
    """The identifiers and keywords of blanked C."""
    return frozenset(re.findall(r"[A-Za-z_]\w*", code))


def macros(code: str) -> frozenset[str]:
    """The macros that blanked C defines."""
    return frozenset(re.findall(r"^[ ]*#[ ]*define[ ]+(\w+)", code, re.MULTILINE))


def declared(code: str) -> frozenset[str]:
    """Functions, types, tags, enumerators and variables that blanked C declares at file scope."""
    text = _DIRECTIVES.sub("", _CONTINUED.sub(" ", code))
    tokens = re.findall(r"[A-Za-z_]\w*|\d\w*|\S", text)
    found: set[str] = set()
    braces: list[bool] = []  # of those that are open: whether an enumeration's
    parentheses = 0
    tag = ""  # struct, union or enum, of the declaration that is being read
    for at, token in enumerate(tokens[:-1]):
        before, after = tokens[at - 1] if at else "", tokens[at + 1]
        if token == "{":
            braces.append(tag == "enum" and not braces)
            tag = ""
        elif token == "}":
            braces.pop()
        elif token in "()":
            parentheses += 1 if token == "(" else -1
        elif token in ("struct", "union", "enum"):
            tag = token
        elif token == ";":
            tag = ""
        elif not re.match(r"[A-Za-z]", token) or token in _NO_NAMES or parentheses:
            continue
        elif braces == [True]:
            if before in ("{", ","):
                found.add(token)
        elif not braces and (after in _AFTER_A_NAME or (after == "{" and before == tag)):
            found.add(token)
    return frozenset(found)


_AFTER_A_NAME = ("(", "[", "=", ";", ",", "__attribute__")
