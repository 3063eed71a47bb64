"""JSON lines: one object a line, one of whose fields holds the text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from llgen.codegen.errors import LlgenError

USUAL_FIELD = "text"

_OTHER_JSON = re.compile(rb'\s*(\[\s*\{\s*"|\{\s*\n\s*")')
"""How an array of objects begins, and an object that is spread over lines."""


def is_json_lines(head: bytes) -> bool:
    """Whether a file that begins with `head` holds an object a line; of a first line that is cut off, its beginning
    decides."""
    first, end, _ = head.lstrip().partition(b"\n")
    if not first.startswith(b"{"):
        return False
    try:
        return isinstance(json.loads(first), dict)
    except (ValueError, RecursionError):
        return not end and first.startswith(b'{"')


def refuse_other_json(head: bytes, file: Path) -> None:
    """Raise LlgenError for JSON of another shape, which would else be taken for prose."""
    if _OTHER_JSON.match(head):
        raise LlgenError(
            f"'{file}' is JSON, but not one object a line",
            "make it so, e.g. `jq -c '.[]'`; or --separator, to read it as the text it is",
        )


def texts(lines: Iterable[str], file: Path, field: str) -> Iterator[str]:
    """The text of each line, empty lines left out; `a.b` is the field b within a.

    Raises LlgenError that names the line for what is not JSON, has no such field, or no text in it.
    """
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"'{file}', line {number}"
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise LlgenError(f"{where} is not JSON: {error}", "one object a line") from error
        yield _text_of(record, field, where)


def _text_of(record: Any, field: str, where: str) -> str:
    value = record
    for key in field.split("."):
        if not isinstance(value, dict) or key not in value:
            there = ", ".join(map(str, value)) if isinstance(value, dict) else "no object"
            raise LlgenError(
                f"{where} has no field '{field}'; there is: {there}", "--field NAME, or a.b for b within a"
            )
        value = value[key]
    if not isinstance(value, str):
        raise LlgenError(f"{where}: the field '{field}' holds {type(value).__name__}, not text", "--field NAME")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise LlgenError(
            f"{where}: the text holds \\u{ord(value[error.start]):04x}, half of a character", "mend or drop the line"
        ) from error
    return value
